DELETE FROM leases WHERE seq = ?1 AND epoch = ?2 RETURNING seq, tag, line, pos, gate, flags, cancel
