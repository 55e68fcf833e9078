SELECT 1 FROM leases l JOIN claims c ON c.epoch = l.epoch WHERE (l.flags & ?1) <> 0 AND c.holder = ?2 LIMIT 1
