SELECT token, ends_at FROM tokens ORDER BY id
