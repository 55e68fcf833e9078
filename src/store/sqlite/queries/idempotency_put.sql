INSERT OR REPLACE INTO idempotency (tenant, key, id, fingerprint, until) VALUES (?1, ?2, ?3, ?4, ?5)
