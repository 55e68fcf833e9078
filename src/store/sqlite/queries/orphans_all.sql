SELECT l.seq, l.epoch, c.holder, c.granted_at FROM leases l JOIN claims c ON c.epoch = l.epoch
