SELECT tenant, unique_key FROM history WHERE id = ?1 UNION ALL SELECT tenant, unique_key FROM dead WHERE id = ?1 LIMIT 1
