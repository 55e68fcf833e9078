-- Windlass on Postgres, schema 4: what an enqueue has to know of a kind, in one row. Each table that it looks into, and each
-- value that it has to take apart, costs its caller time.
CREATE TABLE windlass.doors (
  kind          text COLLATE "C" PRIMARY KEY,  -- '' stands for those that have no row
  queue         text COLLATE "C" NOT NULL,
  priority      smallint NOT NULL,
  max_attempts  integer NOT NULL,
  timeout_ms    bigint NOT NULL,
  payload_bytes bigint NOT NULL,
  seed          bigint NOT NULL,               -- of the lines' numbers
  unfair        text[] NOT NULL,               -- queues in which tenants have no lines of their own
  bound         boolean NOT NULL               -- some roles are bound to a tenant
);
ALTER TABLE windlass.doors ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY ours ON windlass.doors TO windlass_owner, windlass_daemon USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, DELETE ON windlass.doors TO windlass_daemon;

CREATE OR REPLACE FUNCTION windlass.note_principals() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- Whoever binds another role, or makes the doors anew, is waited for before anything is read.
  PERFORM FROM windlass.installation FOR UPDATE;
  UPDATE windlass.installation SET bound = EXISTS (SELECT FROM windlass.principals);
  UPDATE windlass.doors SET bound = (SELECT bound FROM windlass.installation);
  RETURN NULL;
END $$;
