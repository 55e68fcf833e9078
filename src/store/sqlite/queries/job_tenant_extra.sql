SELECT tenant, extra FROM jobs WHERE id = ?1 UNION ALL SELECT tenant, extra FROM history WHERE id = ?1 UNION ALL SELECT tenant, extra FROM dead WHERE id = ?1 LIMIT 1
