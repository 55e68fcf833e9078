DELETE FROM gate_jobs WHERE gate = ?1 AND pos = ?2 AND seq = ?3
