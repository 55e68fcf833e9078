SELECT n.tenant, count(*) FROM leases l JOIN lines n ON n.line = l.line WHERE n.queue = ?1 GROUP BY n.tenant
