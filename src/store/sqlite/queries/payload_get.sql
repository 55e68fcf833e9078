SELECT payload FROM jobs WHERE id = ?1 UNION ALL SELECT payload FROM dead WHERE id = ?1
