UPDATE dead SET extra = ?2 WHERE id = ?1
