-- A page of live jobs and dead letters above $1, oldest id first, $2 at most, and 8 MiB; as `list`.
WITH looked AS MATERIALIZED (
  (SELECT 'j' AS t, id, kind, queue, tenant, NULL AS state, octet_length(payload) AS size, line, seq FROM windlass.jobs WHERE id > $1 ORDER BY id ASC LIMIT $2)
  UNION ALL
  (SELECT 'w' AS t, id, kind, queue, tenant, state AS state, octet_length(payload) AS size, 0, 0 FROM windlass.waiting WHERE id > $1 ORDER BY id ASC LIMIT $2)
  UNION ALL
  (SELECT 'd' AS t, id, kind, queue, tenant, state AS state, octet_length(payload) + coalesce(octet_length(result), 0) AS size, 0, 0 FROM windlass.dead WHERE id > $1 ORDER BY id ASC LIMIT $2)),
stopped AS (SELECT min(last::text)::uuid AS last FROM (SELECT (array_agg(id ORDER BY id DESC))[1] AS last FROM looked GROUP BY t HAVING count(*) >= $2) s),
matching AS (SELECT l.t, l.id, l.size FROM looked l, stopped s WHERE s.last IS NULL OR l.id <= s.last),
ranked AS (SELECT *, row_number() OVER w AS n, sum(size) OVER w - size AS before FROM matching WINDOW w AS (ORDER BY id)),
picked AS MATERIALIZED (SELECT t, id FROM ranked WHERE n <= $2 AND before < 8388608),
ended AS (
  SELECT CASE WHEN (SELECT count(*) FROM picked) < (SELECT count(*) FROM matching) THEN (SELECT (array_agg(id ORDER BY id DESC))[1] FROM picked) ELSE (SELECT last FROM stopped) END AS id),
shown AS (
SELECT j.id, j.kind, j.queue, j.tenant, j.priority, CASE WHEN c.epoch IS NULL THEN 'queued' ELSE 'running' END, j.attempt + (c.epoch IS NOT NULL)::integer,
  j.max_attempts, j.timeout_ms, j.created_at, j.run_at, j.expires_at, c.granted_at, NULL::bigint, j.concurrency_key, j.ordered, j.unique_key, j.deaths,
  c.holder, NULL, j.payload, NULL, j.extra, j.attempts, j.checkpoint, p.value, j.run_at, NULL, encode(j.fingerprint, 'hex'), NULL::uuid[], u.held, u.until, u.first_at
FROM picked k JOIN windlass.jobs j ON j.id = k.id
LEFT JOIN LATERAL (SELECT * FROM windlass.claims c WHERE c.line = j.line AND j.seq = ANY (c.seqs) LIMIT 1) c ON true
LEFT JOIN windlass.progress p ON p.id = j.id AND p.epoch = c.epoch
LEFT JOIN windlass.uniques u ON u.tenant = coalesce(j.tenant, '') AND u.queue = j.queue AND u.key = j.unique_key
WHERE k.t = 'j'
UNION ALL SELECT w.id, w.kind, w.queue, w.tenant, w.priority, w.state, w.attempt, w.max_attempts, w.timeout_ms, w.created_at,
  CASE w.state WHEN 'parked' THEN w.park_until ELSE w.run_at END, w.expires_at, NULL, NULL, w.concurrency_key, w.ordered, w.unique_key, w.deaths,
  NULL, w.reason, w.payload, NULL, w.extra, w.attempts, w.checkpoint, NULL, w.run_at, w.token, encode(w.fingerprint, 'hex'), ARRAY(SELECT parent FROM windlass.dependencies d WHERE d.child = w.id ORDER BY 1), u.held, u.until, u.first_at
FROM picked k JOIN windlass.waiting w ON w.id = k.id
LEFT JOIN windlass.uniques u ON u.tenant = coalesce(w.tenant, '') AND u.queue = w.queue AND u.key = w.unique_key
WHERE k.t = 'w'
UNION ALL SELECT d.id, d.kind, d.queue, d.tenant, d.priority, d.state, d.attempt, d.max_attempts, d.timeout_ms, d.created_at, d.run_at, d.expires_at,
  d.started_at, d.finished_at, d.concurrency_key, d.ordered, d.unique_key, d.deaths, d.holder, d.reason, d.payload, d.result, d.extra, d.attempts, d.checkpoint, NULL, d.run_at, NULL, encode(d.fingerprint, 'hex'), NULL, u.held, u.until, u.first_at
FROM picked k JOIN windlass.dead d ON d.id = k.id
LEFT JOIN windlass.uniques u ON u.tenant = coalesce(d.tenant, '') AND u.queue = d.queue AND u.key = d.unique_key
WHERE k.t = 'd'
ORDER BY 1)
SELECT * FROM shown
UNION ALL SELECT id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM ended WHERE id IS NOT NULL
