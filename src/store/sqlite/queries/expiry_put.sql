INSERT OR REPLACE INTO expiries (expires_at, seq) VALUES (?1, ?2)
