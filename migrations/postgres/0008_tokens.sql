-- Windlass on Postgres, schema 8: who may call the control port. `token` is what is kept of one, as JSON; its secret is not.
CREATE TABLE windlass.tokens (id text COLLATE "C" PRIMARY KEY, token text NOT NULL, ends_at bigint);
ALTER TABLE windlass.tokens ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY ours ON windlass.tokens TO windlass_owner, windlass_daemon USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE ON windlass.tokens TO windlass_daemon;
