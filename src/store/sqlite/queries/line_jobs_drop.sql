DELETE FROM line_jobs WHERE line = ?1 AND pos <= ?2
