UPDATE lines SET
  closed = 0,
  -- Like a line that was empty, it claims nothing for the time it was away.
  vtime = max(vtime, coalesce((SELECT c.vtime FROM clocks c WHERE c.queue = lines.queue AND c.priority = lines.priority), 0))
WHERE queue = ?1 AND tenant = ?2 AND closed = 1
