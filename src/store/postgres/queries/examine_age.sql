SELECT age(datfrozenxid)::bigint FROM pg_database WHERE datname = current_database()
