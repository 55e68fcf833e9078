-- Those of an examination are not told of. Sessions of other users are hidden from who may not see them: they are counted, and have no state.
SELECT coalesce(extract(epoch FROM max(clock_timestamp() - xact_start)), 0)::float8,
  coalesce(extract(epoch FROM max(clock_timestamp() - state_change) FILTER (WHERE state LIKE 'idle in transaction%')), 0)::float8,
  (array_agg(format('pid %s of user %s, %s', pid, usename, state) ORDER BY xact_start) FILTER (WHERE xact_start IS NOT NULL))[1],
  count(*) FILTER (WHERE state IS NULL),
  (pg_snapshot_xmax(pg_current_snapshot())::text::bigint - pg_snapshot_xmin(pg_current_snapshot())::text::bigint)
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND (backend_type = 'client backend' OR backend_type IS NULL)
  AND application_name IS DISTINCT FROM 'windlass doctor'
