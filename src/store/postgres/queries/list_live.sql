SELECT 'j' AS t, id, kind, queue, tenant, NULL::text COLLATE "C" AS state, octet_length(payload)::bigint AS size, line, seq, created_at, run_at AS due, NULL::bigint AS finished,
  ($11::text IS NULL OR strpos(extra, $11) > 0) AND ($12::text IS NULL OR strpos(payload, $12) > 0) AS has
FROM windlass.jobs
WHERE id < $1 AND id >= $2 ORDER BY id DESC LIMIT $3 + 1
