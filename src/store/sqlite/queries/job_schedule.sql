UPDATE jobs SET state = 'scheduled', run_at = ?2, reason = NULL, token = NULL, park_until = NULL WHERE seq = ?1
