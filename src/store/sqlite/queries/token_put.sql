INSERT OR IGNORE INTO tokens (id, token, ends_at) VALUES (?1, ?2, ?3)
