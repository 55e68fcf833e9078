-- As many as run. Plain ones are found by their place in their line, the others by their ids; looking for each alone keeps the planner
-- from reading all that wait.
SELECT 'j' AS t, j.id, j.kind, j.queue, j.tenant, 'running'::text COLLATE "C" AS state, octet_length(j.payload)::bigint AS size, j.line, j.seq, j.created_at, j.run_at AS due, NULL::bigint AS finished,
  ($11::text IS NULL OR strpos(j.extra, $11) > 0) AND ($12::text IS NULL OR strpos(j.payload, $12) > 0) AS has
FROM windlass.claims c CROSS JOIN LATERAL unnest(c.seqs, c.ids) p (seq, id)
CROSS JOIN LATERAL (
  SELECT * FROM (SELECT * FROM windlass.jobs o WHERE o.line = c.line AND o.seq = p.seq AND NOT o.special LIMIT 1) plain
  UNION ALL SELECT * FROM (SELECT * FROM windlass.jobs o WHERE o.id = p.id AND o.seq = p.seq AND o.special LIMIT 1) special) j
WHERE j.id < $1 AND j.id >= $2 ORDER BY j.id DESC LIMIT $3 + 1
