SELECT CASE WHEN EXISTS (SELECT 1 FROM leases l WHERE l.seq = jobs.seq) THEN 'running' ELSE state END, fingerprint FROM jobs WHERE id = ?1
UNION ALL SELECT state, fingerprint FROM history WHERE id = ?1
UNION ALL SELECT state, fingerprint FROM dead WHERE id = ?1
LIMIT 1
