SELECT schedule, generation, last, paused FROM schedules ORDER BY name
