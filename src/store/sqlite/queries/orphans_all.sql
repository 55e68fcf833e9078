SELECT l.seq, l.epoch, c.holder, c.granted_at FROM leases l JOIN claims c ON c.epoch = l.epoch
-- A remote worker is a process of its own: it need not have died with the daemon that it leases through.
WHERE NOT EXISTS (SELECT 1 FROM daemons d WHERE d.holder = c.holder AND CASE WHEN json_valid(d.daemon) THEN d.daemon ->> 'remote' END)
