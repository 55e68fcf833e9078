SELECT l.priority, count(*) FROM (SELECT line FROM line_jobs WHERE gate = ?1 LIMIT ?2) w JOIN lines l ON l.line = w.line GROUP BY l.priority
