SELECT at, place, reason, data FROM quarantine ORDER BY n DESC LIMIT ?1
