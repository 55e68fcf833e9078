INSERT INTO quarantine (at, place, reason, data)
SELECT ?3, 'jobs', ?2, 'id ' || coalesce(hex(id), '?') || ' kind ' || coalesce(quote(kind), '?') || ' queue ' || coalesce(quote(queue), '?') ||
  ' tenant ' || coalesce(quote(tenant), '?') || ' payload ' || coalesce(substr(quote(payload), 1, 65536), '?') || ' extra ' || coalesce(quote(extra), '?')
FROM (SELECT ?1 AS seq) r LEFT JOIN jobs j ON j.seq = r.seq
