SELECT id, token, ends_at FROM tokens ORDER BY id
