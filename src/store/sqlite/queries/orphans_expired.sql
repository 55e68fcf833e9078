SELECT l.seq, l.epoch, c.holder, c.granted_at FROM holders h JOIN claims c ON c.holder = h.holder JOIN leases l ON l.epoch = c.epoch
WHERE h.until < ?1 LIMIT ?2
