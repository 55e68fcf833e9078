DELETE FROM line_jobs WHERE line = ?1 AND pos = ?2 AND seq = ?3
