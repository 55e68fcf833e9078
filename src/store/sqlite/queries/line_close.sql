UPDATE lines SET closed = 1 WHERE queue = ?1 AND tenant = ?2
