SELECT daemon, seen_at, until FROM daemons ORDER BY holder
