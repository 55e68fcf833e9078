DELETE FROM uniques WHERE (tenant, queue, key) IN (SELECT tenant, queue, key FROM uniques WHERE live = 0 AND until <= ?1 LIMIT ?2)
