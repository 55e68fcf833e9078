INSERT INTO clocks (queue, priority, vtime) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET vtime = max(vtime, excluded.vtime)
