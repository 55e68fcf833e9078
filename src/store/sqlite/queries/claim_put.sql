INSERT INTO claims (epoch, nonce, holder, granted_at, until, live) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
