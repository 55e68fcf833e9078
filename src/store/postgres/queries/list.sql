-- A page of jobs below $1, newest first: $2 rows of each table are looked at, $3 shown at most, and 8 MiB. One statement, so
-- that a job on its way between tables is shown once. The last row says how far was looked ($1 of the next page), or nothing.
WITH looked AS MATERIALIZED (
  (SELECT 'j' AS t, id, kind, queue, tenant, NULL AS state, octet_length(payload) AS size, line, seq FROM windlass.jobs WHERE id < $1 ORDER BY id DESC LIMIT $2)
  UNION ALL
  (SELECT 'w' AS t, id, kind, queue, tenant, state AS state, octet_length(payload) AS size, 0, 0 FROM windlass.waiting WHERE id < $1 ORDER BY id DESC LIMIT $2)
  UNION ALL
  (SELECT 'h' AS t, id, kind, queue, tenant, state AS state, octet_length(payload) + coalesce(octet_length(result), 0) AS size, 0, 0 FROM windlass.history WHERE id < $1 ORDER BY id DESC LIMIT $2)
  UNION ALL
  (SELECT 'd' AS t, id, kind, queue, tenant, state AS state, octet_length(payload) + coalesce(octet_length(result), 0) AS size, 0, 0 FROM windlass.dead WHERE id < $1 ORDER BY id DESC LIMIT $2)),
-- Where the first of the tables stopped before its end: what the others have below that belongs to the next page.
stopped AS (SELECT max(last::text)::uuid AS last FROM (SELECT (array_agg(id ORDER BY id))[1] AS last FROM looked GROUP BY t HAVING count(*) >= $2) s),
running AS MATERIALIZED (SELECT line, unnest(seqs) AS seq FROM windlass.claims WHERE $4::text IN ('queued', 'running')),
matching AS (
  SELECT l.t, l.id, l.size FROM looked l LEFT JOIN running r ON l.t = 'j' AND r.line = l.line AND r.seq = l.seq, stopped s
  WHERE (s.last IS NULL OR l.id >= s.last)
    AND ($4::text IS NULL OR $4 = coalesce(l.state, CASE WHEN r.seq IS NULL THEN 'queued' ELSE 'running' END))
    AND ($5::text IS NULL OR l.queue = $5) AND ($6::text IS NULL OR l.kind = $6) AND ($7::text IS NULL OR l.tenant = $7)
  ORDER BY l.id DESC LIMIT $3 + 1),
ranked AS (SELECT *, row_number() OVER w AS n, sum(size) OVER w - size AS before FROM matching WINDOW w AS (ORDER BY id DESC)),
picked AS MATERIALIZED (SELECT t, id FROM ranked WHERE n <= $3 AND before < 8388608),
ended AS (
  SELECT CASE WHEN (SELECT count(*) FROM picked) < (SELECT count(*) FROM matching) THEN (SELECT (array_agg(id ORDER BY id))[1] FROM picked) ELSE (SELECT last FROM stopped) END AS id),
shown AS (
SELECT j.id, j.kind, j.queue, j.tenant, j.priority, CASE WHEN c.epoch IS NULL THEN 'queued' ELSE 'running' END, j.attempt + (c.epoch IS NOT NULL)::integer,
  j.max_attempts, j.timeout_ms, j.created_at, j.run_at, j.expires_at, c.granted_at, NULL::bigint, j.concurrency_key, j.ordered, j.unique_key, j.deaths,
  c.holder, NULL, j.payload, NULL, j.extra, j.attempts, j.checkpoint, p.value FROM picked k JOIN windlass.jobs j ON j.id = k.id
LEFT JOIN LATERAL (SELECT * FROM windlass.claims c WHERE c.line = j.line AND j.seq = ANY (c.seqs) LIMIT 1) c ON true
LEFT JOIN windlass.progress p ON p.id = j.id AND p.epoch = c.epoch
WHERE k.t = 'j'
UNION ALL SELECT w.id, w.kind, w.queue, w.tenant, w.priority, w.state, w.attempt, w.max_attempts, w.timeout_ms, w.created_at,
  CASE w.state WHEN 'parked' THEN w.park_until ELSE w.run_at END, w.expires_at, NULL, NULL, w.concurrency_key, w.ordered, w.unique_key, w.deaths,
  NULL, w.reason, w.payload, NULL, w.extra, w.attempts, w.checkpoint, NULL
FROM picked k JOIN windlass.waiting w ON w.id = k.id WHERE k.t = 'w'
UNION ALL SELECT h.id, h.kind, h.queue, h.tenant, h.priority, h.state, h.attempt, h.max_attempts, h.timeout_ms, h.created_at, h.run_at, h.expires_at,
  h.started_at, h.finished_at, h.concurrency_key, h.ordered, h.unique_key, h.deaths, h.holder, h.reason, h.payload, h.result, h.extra, h.attempts, h.checkpoint, NULL
FROM picked k JOIN windlass.history h ON h.id = k.id WHERE k.t = 'h'
UNION ALL SELECT d.id, d.kind, d.queue, d.tenant, d.priority, d.state, d.attempt, d.max_attempts, d.timeout_ms, d.created_at, d.run_at, d.expires_at,
  d.started_at, d.finished_at, d.concurrency_key, d.ordered, d.unique_key, d.deaths, d.holder, d.reason, d.payload, d.result, d.extra, d.attempts, d.checkpoint, NULL
FROM picked k JOIN windlass.dead d ON d.id = k.id WHERE k.t = 'd'
ORDER BY 1 DESC)
SELECT * FROM shown
UNION ALL SELECT id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM ended WHERE id IS NOT NULL
