SELECT j.id, j.kind, j.queue, j.tenant, j.priority, CASE WHEN l.seq IS NULL THEN j.state ELSE 'running' END, j.attempt + (l.seq IS NOT NULL),
  j.max_attempts, j.timeout_ms, j.created_at, CASE j.state WHEN 'parked' THEN j.park_until ELSE j.run_at END, j.expires_at, c.granted_at, NULL, j.concurrency_key, j.ordered, j.unique_key, j.deaths,
  c.holder, j.reason, j.payload, NULL, j.extra, j.attempts, j.checkpoint, l.progress
FROM jobs j INDEXED BY jobs_parked_id LEFT JOIN leases l ON l.seq = j.seq LEFT JOIN claims c ON c.epoch = l.epoch
WHERE j.state = 'parked' AND j.id < ?1 AND j.id >= ?2 ORDER BY j.id DESC
