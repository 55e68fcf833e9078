DELETE FROM gate_jobs WHERE gate = ?1 AND behind = ?2 AND priority = ?3 AND pos = ?4
