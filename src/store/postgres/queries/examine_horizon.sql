-- What outlives its session and holds back vacuum, or the removal of the log: name, seconds, bytes of log, transactions, in use.
SELECT 'the prepared transaction ' || gid, extract(epoch FROM clock_timestamp() - prepared)::float8, 0::bigint, age(transaction)::bigint, false
FROM pg_prepared_xacts
UNION ALL
SELECT 'the replication slot ' || slot_name, 0::float8,
  CASE WHEN pg_is_in_recovery() THEN 0 ELSE coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0) END::bigint,
  greatest(age(xmin), age(catalog_xmin), 0)::bigint, active
FROM pg_replication_slots
LIMIT 100
