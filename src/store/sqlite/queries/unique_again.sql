INSERT INTO uniques (tenant, queue, key, id, held, until, live, first_at) VALUES (?1, ?2, ?3, ?4, ?5, 0, 1, 0)
ON CONFLICT DO UPDATE SET id = excluded.id, live = 1, held = CASE WHEN held = 'window' THEN held ELSE excluded.held END
