INSERT INTO queue_limits (queue, tat) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET tat = excluded.tat
