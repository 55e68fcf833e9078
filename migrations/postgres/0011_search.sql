-- Windlass on Postgres, schema 11: the few that are parked are found by their ids among the many that are scheduled.
CREATE INDEX CONCURRENTLY waiting_parked_id ON windlass.waiting (id) WHERE state = 'parked'
