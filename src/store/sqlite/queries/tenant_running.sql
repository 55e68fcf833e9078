SELECT count(*) FROM leases l JOIN lines n ON n.line = l.line WHERE n.queue = ?1 AND n.tenant = ?2
