-- Windlass on Postgres, schema 10: the audit's rows in their order, each bound to the one before it. The table chains whatever is put into it,
-- so older daemons chain too. Rows that were there have no hash; the chain begins behind them.
--
-- Acts wait for each other at `audit_head`, the chain's last link; jobs that come, run and end do not touch it.
ALTER TABLE windlass.audit ADD COLUMN seq bigint, ADD COLUMN hash text COLLATE "C";
UPDATE windlass.audit a SET seq = p.n FROM (SELECT op_id, row_number() OVER (ORDER BY at, op_id) AS n FROM windlass.audit) p WHERE a.op_id = p.op_id;
CREATE UNIQUE INDEX audit_seq ON windlass.audit (seq);

CREATE TABLE windlass.audit_head (one boolean PRIMARY KEY DEFAULT true CHECK (one), seq bigint NOT NULL, hash text COLLATE "C" NOT NULL);
INSERT INTO windlass.audit_head (seq, hash) SELECT count(*), '' FROM windlass.audit;
ALTER TABLE windlass.audit_head ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY ours ON windlass.audit_head TO windlass_owner, windlass_daemon USING (true) WITH CHECK (true);
GRANT SELECT, UPDATE ON windlass.audit_head TO windlass_daemon;
REVOKE UPDATE ON windlass.audit FROM windlass_daemon;

-- SHA-256 of: the hash before, seq, op_id, at, actor, action, object and detail, each as its length in bytes, a colon, its bytes and a comma;
-- `-` for a detail that is not there. An act that is there already is left as it is.
CREATE FUNCTION windlass.chain_audit() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
  v_head windlass.audit_head;
  v_words text[];
BEGIN
  SELECT * INTO STRICT v_head FROM windlass.audit_head FOR UPDATE;
  IF EXISTS (SELECT FROM windlass.audit WHERE op_id = NEW.op_id) THEN
    RETURN NULL;
  END IF;
  NEW.seq := v_head.seq + 1;
  v_words := ARRAY[v_head.hash, NEW.seq::text, NEW.op_id::text, NEW.at::text, NEW.actor, NEW.action, NEW.object, NEW.detail];
  NEW.hash := (SELECT encode(sha256(convert_to(string_agg(coalesce(octet_length(convert_to(word, 'UTF8')) || ':' || word || ',', '-'), '' ORDER BY n), 'UTF8')), 'hex')
    FROM unnest(v_words) WITH ORDINALITY w (word, n));
  UPDATE windlass.audit_head SET seq = NEW.seq, hash = NEW.hash;
  RETURN NEW;
END $$;
CREATE TRIGGER chain_audit BEFORE INSERT ON windlass.audit FOR EACH ROW EXECUTE FUNCTION windlass.chain_audit();

CREATE FUNCTION windlass.keep_audit() RETURNS trigger
LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'rows of the audit are never changed'; END $$;
CREATE TRIGGER keep_audit BEFORE UPDATE OR TRUNCATE ON windlass.audit EXECUTE FUNCTION windlass.keep_audit();
REVOKE ALL ON FUNCTION windlass.chain_audit(), windlass.keep_audit() FROM PUBLIC;

-- When a token was told to end, by which it is forgotten in the end: one that ended at once ends before all time.
ALTER TABLE windlass.tokens ADD COLUMN told_at bigint;
UPDATE windlass.tokens SET told_at = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint WHERE ends_at = 0;
CREATE INDEX tokens_end ON windlass.tokens (ends_at);
GRANT DELETE ON windlass.tokens TO windlass_daemon;
