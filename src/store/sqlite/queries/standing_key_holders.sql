SELECT j.id FROM leases l JOIN jobs j ON j.seq = l.seq WHERE l.gate = ?1 LIMIT ?2
