UPDATE jobs SET reason = ?2 WHERE seq = ?1
