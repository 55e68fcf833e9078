UPDATE jobs SET attempt = ?2, attempts = ?3, checkpoint = coalesce(?4, checkpoint), settled_epoch = ?5, settled_nonce = ?6 WHERE seq = ?1
