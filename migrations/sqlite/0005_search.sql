-- Windlass on SQLite, schema 5: what is rare among much is found without walking over the rest. A job that is enqueued, runs and
-- completes is in none of these.
CREATE INDEX jobs_scheduled_id ON jobs (id) WHERE state = 'scheduled';
CREATE INDEX jobs_parked_id    ON jobs (id) WHERE state = 'parked';
CREATE INDEX history_cancelled ON history (id) WHERE state = 'cancelled';
-- A line is written once here, however much it is used.
CREATE INDEX lines_tenant ON lines (tenant);
