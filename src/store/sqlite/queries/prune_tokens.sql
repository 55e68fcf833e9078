-- One stays when all have ended: once there was a token, everybody needs one.
DELETE FROM tokens WHERE id IN (SELECT id FROM tokens WHERE max(ends_at, coalesce(told_at, 0)) <= ?1 LIMIT ?2)
  AND id <> (SELECT id FROM tokens ORDER BY ends_at IS NOT NULL, ends_at DESC, id LIMIT 1)
