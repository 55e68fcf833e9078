INSERT INTO line_jobs (line, pos, seq, gate) VALUES (?1, ?2, ?3, ?4)
