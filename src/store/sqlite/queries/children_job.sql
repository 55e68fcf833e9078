UPDATE jobs SET extra = ?2 WHERE id = ?1
