-- One job, wherever it is; one statement, so that one on its way between tables is found once.
SELECT j.id, j.kind, j.queue, j.tenant, j.priority, CASE WHEN c.epoch IS NULL THEN 'queued' ELSE 'running' END, j.attempt + (c.epoch IS NOT NULL)::integer,
  j.max_attempts, j.timeout_ms, j.created_at, j.run_at, j.expires_at, c.granted_at, NULL::bigint, j.concurrency_key, j.ordered, j.unique_key, j.deaths,
  c.holder, NULL, j.payload, NULL, j.extra, j.attempts, j.checkpoint, p.value
FROM windlass.jobs j
LEFT JOIN LATERAL (SELECT * FROM windlass.claims c WHERE c.line = j.line AND j.seq = ANY (c.seqs) LIMIT 1) c ON true
LEFT JOIN windlass.progress p ON p.id = j.id AND p.epoch = c.epoch
WHERE j.id = $1
UNION ALL SELECT w.id, w.kind, w.queue, w.tenant, w.priority, w.state, w.attempt, w.max_attempts, w.timeout_ms, w.created_at,
  CASE w.state WHEN 'parked' THEN w.park_until ELSE w.run_at END, w.expires_at, NULL, NULL, w.concurrency_key, w.ordered, w.unique_key, w.deaths,
  NULL, w.reason, w.payload, NULL, w.extra, w.attempts, w.checkpoint, NULL
FROM windlass.waiting w WHERE w.id = $1
UNION ALL SELECT h.id, h.kind, h.queue, h.tenant, h.priority, h.state, h.attempt, h.max_attempts, h.timeout_ms, h.created_at, h.run_at, h.expires_at,
  h.started_at, h.finished_at, h.concurrency_key, h.ordered, h.unique_key, h.deaths, h.holder, h.reason, h.payload, h.result, h.extra, h.attempts, h.checkpoint, NULL
FROM windlass.history h WHERE h.id = $1
UNION ALL SELECT d.id, d.kind, d.queue, d.tenant, d.priority, d.state, d.attempt, d.max_attempts, d.timeout_ms, d.created_at, d.run_at, d.expires_at,
  d.started_at, d.finished_at, d.concurrency_key, d.ordered, d.unique_key, d.deaths, d.holder, d.reason, d.payload, d.result, d.extra, d.attempts, d.checkpoint, NULL
FROM windlass.dead d WHERE d.id = $1
