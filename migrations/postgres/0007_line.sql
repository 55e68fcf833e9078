-- Windlass on Postgres, schema 7: what each enqueue would have to reckon stands in its door, and no index looks in vain for keys
-- that are alike.
ALTER TABLE windlass.doors ADD COLUMN line bigint;  -- of the kind's queue and priority and no tenant; NULL where an older release wrote
ALTER INDEX windlass.jobs_line SET (deduplicate_items = off);
ALTER INDEX windlass.events_queue SET (deduplicate_items = off);
