SELECT count(*) FROM leases WHERE gate = ?1
