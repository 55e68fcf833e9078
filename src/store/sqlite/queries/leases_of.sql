SELECT l.seq, l.epoch, l.cancel IS NOT NULL FROM leases l JOIN claims c ON c.epoch = l.epoch WHERE c.holder = ?1
