INSERT INTO gates (queue, key) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET key = excluded.key RETURNING gate
