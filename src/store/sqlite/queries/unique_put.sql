INSERT OR REPLACE INTO uniques (tenant, queue, key, id, held, until, live, first_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, ?7)
