DELETE FROM leases WHERE epoch = ?1 AND seq IN rarray(?2) RETURNING seq, tag, line, pos, gate, flags, cancel
