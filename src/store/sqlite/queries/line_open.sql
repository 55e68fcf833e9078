UPDATE lines SET closed = 0 WHERE queue = ?1 AND tenant = ?2 AND closed = 1
