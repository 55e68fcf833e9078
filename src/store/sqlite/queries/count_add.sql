INSERT INTO counts (queue, state, jobs) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET jobs = jobs + excluded.jobs
