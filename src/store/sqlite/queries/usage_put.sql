INSERT OR REPLACE INTO usage (job, epoch, n, tenant, at, usage) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
