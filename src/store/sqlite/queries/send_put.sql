INSERT OR REPLACE INTO sends (tenant, channel, key, provider_id, job, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
