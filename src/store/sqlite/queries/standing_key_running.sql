SELECT count(*) FROM (SELECT 1 FROM leases WHERE gate = ?1 LIMIT ?2)
