UPDATE schedules SET schedule = ?2 WHERE name = ?1
