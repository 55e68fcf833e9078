UPDATE lines SET closed = 1 WHERE queue = ?1 AND priority IN (0, 1, 2, 3, 4, 5, 6, 7, 8, 9) AND tenant = ?2
