UPDATE jobs SET attempts = ?2, deaths = deaths + ?3 WHERE seq = ?1 RETURNING deaths
