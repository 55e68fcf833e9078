INSERT INTO suspects (queue, pos, seq, line, gate) VALUES (?1, ?2, ?3, ?4, ?5)
