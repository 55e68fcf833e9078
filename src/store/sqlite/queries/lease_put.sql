INSERT INTO leases (seq, epoch, line, pos, gate, flags) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
