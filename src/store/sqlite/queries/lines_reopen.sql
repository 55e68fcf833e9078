UPDATE lines SET closed = 0 WHERE closed = 1
