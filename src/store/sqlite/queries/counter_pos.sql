UPDATE counters SET pos = pos + ?1 RETURNING pos - ?1
