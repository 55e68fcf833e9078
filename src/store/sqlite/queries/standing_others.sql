SELECT line, tenant, waiting, vtime FROM lines WHERE queue = ?1 AND priority = ?2 AND waiting > 0 AND closed = 0 ORDER BY vtime, line LIMIT ?3
