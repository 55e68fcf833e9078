SELECT id, fingerprint FROM idempotency WHERE tenant = ?1 AND key = ?2 AND until > ?3
