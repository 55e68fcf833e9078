UPDATE schedules SET last = ?4 WHERE name = ?1 AND generation = ?2 AND last = ?3
