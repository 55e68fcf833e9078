SELECT due, job, skipped, through, count FROM occurrences WHERE schedule = ?1 ORDER BY generation, due LIMIT ?2
