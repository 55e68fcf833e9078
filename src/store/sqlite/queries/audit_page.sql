SELECT op_id, at, actor, action, object, detail, seq, hash FROM audit WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2
