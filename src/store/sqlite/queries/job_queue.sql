UPDATE jobs SET state = 'queued', pos = ?2, line = ?3, reason = NULL, token = NULL, park_until = NULL WHERE seq = ?1
