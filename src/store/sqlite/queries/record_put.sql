INSERT INTO records (tenant, collection, key, value, event_time, job, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
ON CONFLICT DO UPDATE SET value = excluded.value, event_time = excluded.event_time, job = excluded.job, at = excluded.at
  -- An older event never overwrites a newer one.
  WHERE excluded.event_time IS NULL OR records.event_time IS NULL OR excluded.event_time >= records.event_time
