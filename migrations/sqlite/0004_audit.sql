-- Windlass on SQLite, schema 4: the audit's rows in their order, each bound to the one before it. Those that were there have no hash; the
-- chain begins behind them. `audit_head` is its last link, which outlasts the rows.
ALTER TABLE audit ADD COLUMN seq INTEGER;
ALTER TABLE audit ADD COLUMN hash TEXT;
UPDATE audit SET seq = place.n FROM (SELECT op_id AS id, row_number() OVER (ORDER BY at, op_id) AS n FROM audit) AS place WHERE op_id = place.id;
CREATE UNIQUE INDEX audit_seq ON audit (seq);
CREATE TABLE audit_head (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL, hash TEXT NOT NULL) STRICT;
INSERT INTO audit_head SELECT 1, count(*), '' FROM audit;
CREATE TRIGGER audit_stays BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'rows of the audit are never changed'); END;
-- When a token was told to end, by which it is forgotten in the end: one that ended at once ends before all time.
ALTER TABLE tokens ADD COLUMN told_at INTEGER;
UPDATE tokens SET told_at = unixepoch() * 1000000 WHERE ends_at = 0;
CREATE INDEX tokens_end ON tokens (ends_at);
