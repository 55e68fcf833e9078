-- Windlass on Postgres, step 2: whom a session acts for, and what each role may do.
--
--   windlass_owner     owns everything; `windlass migrate` acts for it, and so do the functions that producers call
--   windlass_daemon    reads and writes jobs of every tenant, by policy; makes nothing and drops nothing
--   windlass_producer  calls windlass.enqueue and windlass.enqueue_many, and sees no table
--   windlass_reader    reads what became of jobs, of its tenant, without payloads and results
--
-- None can log in: `GRANT windlass_daemon TO somebody`.

-- Roles that act for one tenant, or for all of them where `tenant` is NULL. It holds whatever a session sets.
CREATE TABLE windlass.principals (
  role   name PRIMARY KEY,
  tenant text COLLATE "C" CHECK (tenant ~ '^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$')
);

CREATE FUNCTION windlass.note_principals() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE windlass.installation SET bound = EXISTS (SELECT FROM windlass.principals);
  RETURN NULL;
END $$;
CREATE TRIGGER note_principals AFTER INSERT OR DELETE OR TRUNCATE ON windlass.principals EXECUTE FUNCTION windlass.note_principals();

-- Whom this session acts for: the tenant of its role in `principals`; else the setting `windlass.tenant`; else the claim
-- `tenant` of the token that PostgREST checked, at its top or in `app_metadata`, where only a server can write. '*' is every
-- tenant, '' none at all (a token that names none), NULL when nothing was said.
CREATE FUNCTION windlass.tenant() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  v_role text := current_setting('role');
  v_set text;
  v_claims text;
  p windlass.principals;
BEGIN
  SELECT * INTO p FROM windlass.principals WHERE role IN (session_user, v_role) ORDER BY role = session_user DESC LIMIT 1;
  IF FOUND THEN
    RETURN coalesce(p.tenant, '*');
  END IF;
  v_set := current_setting('windlass.tenant', true);
  IF v_set <> '' THEN
    RETURN v_set;
  END IF;
  v_claims := current_setting('request.jwt.claims', true);
  IF v_claims <> '' THEN
    RETURN coalesce(v_claims::json ->> 'tenant', v_claims::json -> 'app_metadata' ->> 'tenant', '');
  END IF;
  RETURN NULL;
END $$;

-- Whether a row of `p_tenant` is this session's to see. A session that says nothing sees nothing.
CREATE FUNCTION windlass.is_mine(p_tenant text) RETURNS boolean
LANGUAGE sql STABLE AS $$ SELECT (SELECT windlass.tenant()) = '*' OR p_tenant = nullif((SELECT windlass.tenant()), '') $$;

-- Every table is behind row-level security, for its owner too. Whoever else is given rights to one sees and writes rows of
-- its own tenant only, and nothing of a table that has no tenants.
DO $$
DECLARE
  t record;
BEGIN
  FOR t IN
    SELECT c.relname AS name, EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant') AND c.relname NOT IN ('principals', 'events') AS has_tenants
    FROM pg_class c WHERE c.relnamespace = 'windlass'::regnamespace AND c.relkind IN ('r', 'p')
  LOOP
    EXECUTE format('ALTER TABLE windlass.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', t.name);
    EXECUTE format('CREATE POLICY ours ON windlass.%I TO windlass_owner, windlass_daemon USING (true) WITH CHECK (true)', t.name);
    IF t.has_tenants THEN
      EXECUTE format('CREATE POLICY tenants ON windlass.%I USING (windlass.is_mine(tenant)) WITH CHECK (windlass.is_mine(tenant))', t.name);
    END IF;
  END LOOP;
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA windlass FROM PUBLIC;
GRANT EXECUTE ON FUNCTION windlass.tenant(), windlass.is_mine(text) TO PUBLIC;
GRANT USAGE ON SCHEMA windlass TO windlass_daemon, windlass_producer, windlass_reader;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA windlass TO windlass_daemon;
REVOKE INSERT, UPDATE, DELETE ON windlass.migrations, windlass.routines, windlass.principals FROM windlass_daemon;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA windlass TO windlass_daemon;
GRANT SELECT (id, kind, queue, tenant, priority, attempt, max_attempts, created_at, run_at, expires_at, concurrency_key, unique_key) ON windlass.jobs TO windlass_reader;
GRANT SELECT (id, kind, queue, tenant, priority, attempt, max_attempts, created_at, run_at, expires_at, concurrency_key, unique_key, state, reason, park_until)
  ON windlass.waiting TO windlass_reader;
GRANT SELECT (id, kind, queue, tenant, priority, attempt, max_attempts, created_at, run_at, expires_at, concurrency_key, unique_key, state, reason, started_at, finished_at)
  ON windlass.dead, windlass.history TO windlass_reader;
