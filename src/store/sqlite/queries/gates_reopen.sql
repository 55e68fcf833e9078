UPDATE gates SET opens_at = ?1 WHERE waiting > 0
