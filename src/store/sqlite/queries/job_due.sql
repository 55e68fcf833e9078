UPDATE jobs SET run_at = ?2 WHERE seq = ?1
