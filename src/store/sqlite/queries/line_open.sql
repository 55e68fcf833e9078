-- The priorities by name, so that the index on (queue, priority, tenant) is walked ten times and not the queue once.
UPDATE lines SET
  closed = 0,
  -- Like a line that was empty, it claims nothing for the time it was away.
  vtime = max(vtime, coalesce((SELECT c.vtime FROM clocks c WHERE c.queue = lines.queue AND c.priority = lines.priority), 0))
WHERE queue = ?1 AND priority IN (0, 1, 2, 3, 4, 5, 6, 7, 8, 9) AND tenant = ?2 AND closed = 1
