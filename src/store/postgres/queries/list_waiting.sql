SELECT 'w' AS t, id, kind, queue, tenant, state AS state, octet_length(payload)::bigint AS size, 0::bigint AS line, 0::bigint AS seq, created_at, CASE state WHEN 'parked' THEN coalesce(park_until, run_at) ELSE run_at END AS due, NULL::bigint AS finished,
  ($11::text IS NULL OR strpos(extra, $11) > 0) AND ($12::text IS NULL OR strpos(payload, $12) > 0) AS has
FROM windlass.waiting
WHERE id < $1 AND id >= $2 ORDER BY id DESC LIMIT $3 + 1
