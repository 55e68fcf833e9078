INSERT INTO occurrences (schedule, generation, due, job, skipped, through, count) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
