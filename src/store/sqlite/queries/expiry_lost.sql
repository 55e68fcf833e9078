DELETE FROM expiries WHERE expires_at <= ?1 AND seq = ?2
