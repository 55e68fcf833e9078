INSERT INTO gate_jobs (gate, behind, priority, pos, seq, line) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
