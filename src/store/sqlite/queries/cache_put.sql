INSERT OR REPLACE INTO cache (tenant, key, value, until) VALUES (?1, ?2, ?3, ?4)
