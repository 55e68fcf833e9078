DELETE FROM cache WHERE (tenant, key) IN (SELECT tenant, key FROM cache WHERE until <= ?1 LIMIT ?2)
