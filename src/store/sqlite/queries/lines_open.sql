SELECT line, priority, vtime FROM lines WHERE queue = ?1 AND waiting > 0 AND closed = 0 ORDER BY priority, vtime, line LIMIT ?2
