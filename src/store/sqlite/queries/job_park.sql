UPDATE jobs SET state = 'parked', reason = ?2, park_until = ?3, token = ?4 WHERE seq = ?1
