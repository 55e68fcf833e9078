SELECT l.seq, l.epoch, c.holder, c.granted_at FROM claims c LEFT JOIN holders h ON h.holder = c.holder JOIN leases l ON l.epoch = c.epoch
WHERE c.until < ?1 AND coalesce(h.until, 0) < ?1 LIMIT ?2
