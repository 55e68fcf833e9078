SELECT id, token, ends_at FROM tokens WHERE ends_at IS NULL OR ends_at > ?1 ORDER BY id
