-- Windlass on Postgres, schema 9: who works on what, and when a pause ends by itself.

-- `daemon` is what it says of itself, as JSON.
CREATE TABLE windlass.daemons (holder uuid PRIMARY KEY, daemon text NOT NULL, seen_at bigint NOT NULL, until bigint NOT NULL) WITH (fillfactor = 20);
ALTER TABLE windlass.daemons ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY ours ON windlass.daemons TO windlass_owner, windlass_daemon USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON windlass.daemons TO windlass_daemon;

ALTER TABLE windlass.pauses ADD COLUMN until bigint;
