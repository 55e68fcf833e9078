SELECT l.priority, count(*) FROM line_jobs w JOIN lines l ON l.line = w.line WHERE w.gate = ?1 GROUP BY l.priority
