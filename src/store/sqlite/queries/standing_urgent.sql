SELECT coalesce(sum(waiting), 0) FROM (SELECT waiting FROM lines WHERE queue = ?1 AND priority < ?2 AND waiting > 0 AND closed = 0 LIMIT ?3)
