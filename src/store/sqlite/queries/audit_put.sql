INSERT INTO audit (op_id, at, actor, action, object, detail, seq, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
