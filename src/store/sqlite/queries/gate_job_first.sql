SELECT priority, pos, seq, line FROM gate_jobs WHERE gate = ?1 AND behind = ?2 ORDER BY priority, pos LIMIT 1
