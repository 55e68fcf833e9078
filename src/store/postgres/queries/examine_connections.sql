-- Taken and allowed, of the server, of the role, of the database; what is allowed is negative where there is no limit.
SELECT (SELECT coalesce(sum(numbackends), 0)::bigint FROM pg_stat_database),
  current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint
    - coalesce(current_setting('reserved_connections', true)::bigint, 0),
  (SELECT count(*) FROM pg_stat_activity WHERE usename = current_user),
  (SELECT rolconnlimit::bigint FROM pg_roles WHERE rolname = current_user),
  (SELECT numbackends::bigint FROM pg_stat_database WHERE datname = current_database()),
  (SELECT datconnlimit::bigint FROM pg_database WHERE datname = current_database())
