SELECT count(*) FROM (SELECT 1 FROM line_jobs WHERE line = ?1 AND pos < ?2 LIMIT ?3)
