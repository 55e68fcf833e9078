SELECT schedule FROM schedules WHERE name = ?1
