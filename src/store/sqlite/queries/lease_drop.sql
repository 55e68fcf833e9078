DELETE FROM leases WHERE seq = ?1 AND epoch = ?2 RETURNING line, pos, gate, flags
