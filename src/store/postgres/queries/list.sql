-- A page of jobs with ids from $2 up to, but not, $1, newest first. $3 rows are looked at, or as many as have $5 bytes of payload; $4 jobs
-- shown at most, or as many as have $6 bytes. One statement, so that a job on its way between tables is shown once. The last row is the last that was looked at, with its number and whether there is one below it.
WITH ahead AS (SELECT * FROM ({lists}) l ORDER BY id DESC LIMIT $3 + 1),
numbered AS MATERIALIZED (SELECT *, row_number() OVER w AS n, sum(size) OVER w - size AS before FROM ahead WINDOW w AS (ORDER BY id DESC)),
running AS MATERIALIZED (SELECT line, unnest(seqs) AS seq FROM windlass.claims WHERE $7::text = 'queued'),
matching AS (
  SELECT l.t, l.id, l.size, l.n FROM numbered l LEFT JOIN running r ON l.t = 'j' AND r.line = l.line AND r.seq = l.seq
  WHERE l.n <= $3 AND l.before < $5 AND ($7::text IS NULL OR $7 = coalesce(l.state, CASE WHEN r.seq IS NULL THEN 'queued' ELSE 'running' END))
    AND ($8::text IS NULL OR l.queue = $8) AND ($9::text IS NULL OR l.kind = $9) AND ($10::text IS NULL OR l.tenant = $10)
    AND l.created_at >= $13 AND l.created_at < $14 AND l.due >= $15 AND l.due < $16
    AND (l.finished IS NULL OR l.finished >= $17 AND l.finished < $18) AND l.has
  ORDER BY l.n LIMIT $4 + 1),
ranked AS (SELECT *, row_number() OVER w AS k, sum(size) OVER w - size AS before FROM matching WINDOW w AS (ORDER BY n)),
picked AS MATERIALIZED (SELECT t, id, n FROM ranked WHERE k <= $4 AND before < $6),
-- Where the jobs shown end, or the rows that were looked at.
ended AS (
  SELECT id, n, n < (SELECT max(n) FROM numbered) AS is_cut FROM numbered WHERE n =
    CASE WHEN (SELECT count(*) FROM picked) < (SELECT count(*) FROM matching) THEN (SELECT max(n) FROM picked)
    ELSE (SELECT max(n) FROM numbered WHERE n <= $3 AND before < $5) END),
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
UNION ALL SELECT id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, n, NULL, NULL, NULL, NULL, NULL, is_cut, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM ended
