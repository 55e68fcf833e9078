INSERT INTO holders (holder, until) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET until = excluded.until
