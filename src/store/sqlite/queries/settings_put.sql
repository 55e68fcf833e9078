INSERT INTO settings (one, settings) VALUES (1, ?1) ON CONFLICT DO UPDATE SET settings = excluded.settings
