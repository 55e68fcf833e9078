UPDATE jobs SET gate = ?2, line = ?3 WHERE seq = ?1
