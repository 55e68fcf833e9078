-- The table with the most dead rows; none where nothing was counted yet.
SELECT current_setting('autovacuum')::boolean AND current_setting('track_counts')::boolean, t.relname::text, t.n_live_tup, t.n_dead_tup,
  extract(epoch FROM clock_timestamp() - greatest(t.last_autovacuum, t.last_vacuum))::float8
FROM (SELECT) one LEFT JOIN pg_stat_user_tables t ON t.schemaname = 'windlass'
ORDER BY t.n_dead_tup DESC NULLS LAST LIMIT 1
