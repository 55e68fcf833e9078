SELECT 'd' AS t, id, kind, queue, tenant, state AS state, (octet_length(payload) + coalesce(octet_length(result), 0))::bigint AS size, 0::bigint AS line, 0::bigint AS seq, created_at, run_at AS due, finished_at AS finished,
  ($11::text IS NULL OR strpos(extra, $11) > 0) AND ($12::text IS NULL OR strpos(payload, $12) > 0) AS has
FROM windlass.dead
WHERE id < $1 AND id >= $2 ORDER BY id DESC LIMIT $3 + 1
