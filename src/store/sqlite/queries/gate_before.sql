SELECT count(*) FROM line_jobs w JOIN lines l ON l.line = w.line
WHERE w.gate = ?1 AND (l.priority < ?2 OR (l.priority = ?2 AND w.pos < ?3))
