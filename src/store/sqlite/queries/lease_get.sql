SELECT j.id, c.nonce, c.granted_at FROM leases l JOIN claims c ON c.epoch = l.epoch JOIN jobs j ON j.seq = l.seq
WHERE l.seq = ?1 AND l.epoch = ?2
