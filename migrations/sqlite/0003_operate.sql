-- Windlass on SQLite, schema 3: who works on what, and when a pause ends by itself.

-- `daemon` is what it says of itself, as JSON.
CREATE TABLE daemons (holder BLOB PRIMARY KEY, daemon TEXT NOT NULL, seen_at INTEGER NOT NULL, until INTEGER NOT NULL) STRICT, WITHOUT ROWID;
ALTER TABLE pauses ADD COLUMN until INTEGER;
