UPDATE jobs SET gate = ?2 WHERE seq = ?1
