-- The four roles, which belong to the whole server. Whoever migrates may act for the owner afterwards.
DO $$
DECLARE
  v_role text;
BEGIN
  FOREACH v_role IN ARRAY ARRAY['windlass_owner', 'windlass_daemon', 'windlass_producer', 'windlass_reader'] LOOP
    BEGIN
      IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = v_role) THEN
        EXECUTE format('CREATE ROLE %I NOLOGIN', v_role);
      END IF;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
      NULL; -- another database of this server is being migrated
    END;
  END LOOP;
  IF NOT pg_has_role(current_user, 'windlass_owner', 'USAGE') THEN
    EXECUTE format('GRANT windlass_owner TO %I', current_user);
  END IF;
  IF NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'windlass') THEN
    CREATE SCHEMA windlass AUTHORIZATION windlass_owner;
  END IF;
END $$;
