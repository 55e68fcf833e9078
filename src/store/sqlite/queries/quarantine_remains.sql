SELECT id, queue, CASE WHEN EXISTS (SELECT 1 FROM leases l WHERE l.seq = jobs.seq) THEN 'running' ELSE state END,
  expires_at, pos, line, gate, unique_key IS NOT NULL
FROM jobs WHERE seq = ?1
