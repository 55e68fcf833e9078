SELECT schedule, generation, last, paused FROM schedules WHERE name = ?1
