INSERT INTO uniques (tenant, queue, key, id, held, until, live, first_at) VALUES (?1, ?2, ?3, ?4, 'finished', 0, 1, 0)
ON CONFLICT DO UPDATE SET id = excluded.id, live = 1
