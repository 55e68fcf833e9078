INSERT INTO lines (queue, priority, tenant, vtime, waiting) VALUES (?1, ?2, ?3, 0, 0) ON CONFLICT DO UPDATE SET queue = excluded.queue RETURNING line
