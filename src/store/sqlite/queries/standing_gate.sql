SELECT count(*) FROM (SELECT 1 FROM gate_jobs WHERE gate = ?1 AND behind = ?2 AND (priority, pos) < (?3, ?4) LIMIT ?5)
