-- One row at least, for what is named and not there. State and lag are hidden from who may not see them.
SELECT named.is_one, r.application_name, r.sync_state, r.state, extract(epoch FROM coalesce(r.replay_lag, '0'))::float8,
  CASE WHEN pg_is_in_recovery() THEN 0 ELSE coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), r.replay_lsn), 0) END::bigint
FROM (SELECT current_setting('synchronous_standby_names') <> '' AS is_one) named LEFT JOIN pg_stat_replication r ON true
ORDER BY r.application_name LIMIT 20
