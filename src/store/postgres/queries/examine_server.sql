SELECT current_setting('server_version_num')::bigint, current_setting('server_version'), pg_is_in_recovery()
