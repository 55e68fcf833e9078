INSERT OR IGNORE INTO audit (op_id, at, actor, action, object, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
