-- Windlass on SQLite, schema 2: who may call the control port. `token` is what is kept of one, as JSON; its secret is not.
CREATE TABLE tokens (id TEXT PRIMARY KEY, token TEXT NOT NULL, ends_at INTEGER) STRICT, WITHOUT ROWID;
