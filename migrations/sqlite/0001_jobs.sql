-- Windlass on SQLite, schema 1.
--
-- A live job is one row of `jobs`, written once at enqueue and not touched again until it ends, unless something
-- unusual happens to it (a retry, a park, a redrive). Where it waits is a row elsewhere:
--   queued    line_jobs (may be leased), gate_jobs (held back by its key), suspects (runs alone after a crash)
--   running   leases
--   scheduled, parked   nowhere else: partial indexes on jobs
-- A final job leaves `jobs` for `history` or `dead`, so that nothing that runs often grows with the past.
-- Times are microseconds since 1970, UTC. Ids are the 16 bytes of a UUID.

-- One row: the next position (also the row number of new jobs) and the next epoch. Both only grow, for ever.
CREATE TABLE counters (one INTEGER PRIMARY KEY CHECK (one = 1), pos INTEGER NOT NULL, epoch INTEGER NOT NULL) STRICT;
INSERT INTO counters VALUES (1, 1, 1);

CREATE TABLE jobs (
  seq             INTEGER PRIMARY KEY,
  id              BLOB NOT NULL UNIQUE,
  kind            TEXT NOT NULL,
  queue           TEXT NOT NULL,
  tenant          TEXT,
  priority        INTEGER NOT NULL,
  state           TEXT NOT NULL,          -- scheduled, queued or parked; a row in leases makes it running
  attempt         INTEGER NOT NULL,       -- attempts charged
  max_attempts    INTEGER NOT NULL,
  timeout_ms      INTEGER,
  created_at      INTEGER NOT NULL,
  run_at          INTEGER NOT NULL,       -- due
  park_until      INTEGER,
  expires_at      INTEGER,
  pos             INTEGER,                -- position in its line, given when it becomes due
  line            INTEGER,                -- that line, as the settings were then
  gate            INTEGER,                -- of its concurrency key
  concurrency_key TEXT,
  ordered         INTEGER NOT NULL,
  unique_key      TEXT,
  unique_for      TEXT,                   -- finished, started or window: how a redrive takes the key again
  fingerprint     BLOB,                   -- of the envelope, where the same id may come again
  deaths          INTEGER NOT NULL DEFAULT 0,
  reason          TEXT,
  token           TEXT,
  settled_epoch   INTEGER,                -- the last settlement, so that it can be asked about
  settled_nonce   BLOB,
  payload         TEXT NOT NULL,
  extra           TEXT,
  checkpoint      TEXT,
  attempts        TEXT                    -- JSON array, newest 20
) STRICT;
CREATE INDEX jobs_scheduled ON jobs (run_at, seq) WHERE state = 'scheduled';
CREATE INDEX jobs_parked    ON jobs (park_until, seq) WHERE state = 'parked';
CREATE INDEX jobs_token     ON jobs (token) WHERE token IS NOT NULL;
CREATE INDEX jobs_gate      ON jobs (gate) WHERE gate IS NOT NULL;
CREATE INDEX jobs_unknown   ON jobs (kind) WHERE state = 'parked' AND reason = 'unknown_kind';

-- A line is (queue, priority, tenant); an unfair queue has tenant '' in all of them.
CREATE TABLE lines (
  line     INTEGER PRIMARY KEY,
  queue    TEXT NOT NULL,
  priority INTEGER NOT NULL,
  tenant   TEXT NOT NULL,
  vtime    INTEGER NOT NULL,              -- virtual time: grants so far, divided by weight
  waiting  INTEGER NOT NULL,              -- rows in line_jobs
  closed   INTEGER NOT NULL DEFAULT 0,    -- the tenant is at its cap
  UNIQUE (queue, priority, tenant)
) STRICT;
CREATE INDEX lines_open ON lines (queue, priority, vtime, line) WHERE waiting > 0 AND closed = 0;

-- The virtual time that a line joins at when it stops being empty.
CREATE TABLE clocks (queue TEXT NOT NULL, priority INTEGER NOT NULL, vtime INTEGER NOT NULL, PRIMARY KEY (queue, priority)) STRICT, WITHOUT ROWID;

CREATE TABLE line_jobs (line INTEGER NOT NULL, pos INTEGER NOT NULL, seq INTEGER NOT NULL, gate INTEGER, PRIMARY KEY (line, pos)) STRICT, WITHOUT ROWID;
CREATE INDEX line_jobs_gate ON line_jobs (gate) WHERE gate IS NOT NULL;

-- One gate per (queue, concurrency key).
CREATE TABLE gates (
  gate     INTEGER PRIMARY KEY,
  queue    TEXT NOT NULL,
  key      TEXT NOT NULL,
  head     INTEGER,                       -- seq of the ordered job whose turn it is
  tat      INTEGER NOT NULL DEFAULT 0,    -- theoretical arrival time of the key's rate (GCRA)
  opens_at INTEGER,                       -- closed by its rate until then
  waiting  INTEGER NOT NULL DEFAULT 0,    -- rows in gate_jobs
  UNIQUE (queue, key)
) STRICT;
CREATE INDEX gates_opening ON gates (opens_at) WHERE opens_at IS NOT NULL;

-- Held back, best first. Ordered jobs behind their head stand apart, so that looking for the next never walks over them.
CREATE TABLE gate_jobs (
  gate INTEGER NOT NULL, behind INTEGER NOT NULL, priority INTEGER NOT NULL, pos INTEGER NOT NULL,
  seq INTEGER NOT NULL, line INTEGER NOT NULL,
  PRIMARY KEY (gate, behind, priority, pos)
) STRICT, WITHOUT ROWID;

CREATE TABLE suspects (queue TEXT NOT NULL, pos INTEGER NOT NULL, seq INTEGER NOT NULL, line INTEGER NOT NULL, gate INTEGER, PRIMARY KEY (queue, pos)) STRICT, WITHOUT ROWID;

CREATE TABLE holders (holder BLOB PRIMARY KEY, until INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- One row per lease call; its number is the epoch of every lease that it granted. They last until then, or as long as the
-- holder's last heartbeat says.
CREATE TABLE claims (epoch INTEGER PRIMARY KEY, nonce BLOB NOT NULL, holder BLOB NOT NULL, granted_at INTEGER NOT NULL, until INTEGER NOT NULL, live INTEGER NOT NULL) STRICT;

CREATE TABLE leases (
  seq     INTEGER PRIMARY KEY,
  epoch   INTEGER NOT NULL,
  line    INTEGER NOT NULL,
  pos     INTEGER NOT NULL,
  gate    INTEGER,
  flags   INTEGER NOT NULL,               -- what its end must look at: see sqlite/lease.rs
  tag     INTEGER NOT NULL,               -- the last eight bytes of the job's id
  cancel  TEXT,                           -- somebody asked to cancel it, and why
  progress TEXT
) STRICT;
CREATE INDEX leases_gate ON leases (gate) WHERE gate IS NOT NULL;
CREATE INDEX leases_cancel ON leases (epoch) WHERE cancel IS NOT NULL;

CREATE TABLE uniques (
  tenant TEXT NOT NULL, queue TEXT NOT NULL, key TEXT NOT NULL,
  id       BLOB NOT NULL,
  held     TEXT NOT NULL,                 -- finished, started or window
  until    INTEGER NOT NULL,              -- end of a window
  live     INTEGER NOT NULL,              -- the holder is not final (and, for `started`, not started)
  first_at INTEGER NOT NULL,              -- when the first of a debounced series came
  PRIMARY KEY (tenant, queue, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX uniques_ended ON uniques (until) WHERE live = 0;

CREATE TABLE idempotency (tenant TEXT NOT NULL, key TEXT NOT NULL, id BLOB NOT NULL, fingerprint BLOB NOT NULL, until INTEGER NOT NULL, PRIMARY KEY (tenant, key)) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_until ON idempotency (until);

CREATE TABLE expiries (expires_at INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (expires_at, seq)) STRICT, WITHOUT ROWID;

-- child (seq) waits for parent (id) to complete.
CREATE TABLE dependencies (parent BLOB NOT NULL, child INTEGER NOT NULL, PRIMARY KEY (parent, child)) STRICT, WITHOUT ROWID;
CREATE INDEX dependencies_child ON dependencies (child);

-- Final jobs in the order in which they ended.
CREATE TABLE history (
  seq INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, kind TEXT NOT NULL, queue TEXT NOT NULL, tenant TEXT, priority INTEGER NOT NULL,
  state TEXT NOT NULL, attempt INTEGER NOT NULL, max_attempts INTEGER NOT NULL, timeout_ms INTEGER,
  created_at INTEGER NOT NULL, run_at INTEGER NOT NULL, expires_at INTEGER, started_at INTEGER, finished_at INTEGER NOT NULL,
  concurrency_key TEXT, ordered INTEGER NOT NULL, unique_key TEXT, fingerprint BLOB, deaths INTEGER NOT NULL, reason TEXT,
  holder BLOB, settled_epoch INTEGER, settled_nonce BLOB,
  payload TEXT NOT NULL, result TEXT, extra TEXT, checkpoint TEXT, attempts TEXT
) STRICT;

CREATE TABLE dead (
  seq INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, kind TEXT NOT NULL, queue TEXT NOT NULL, tenant TEXT, priority INTEGER NOT NULL,
  state TEXT NOT NULL, attempt INTEGER NOT NULL, max_attempts INTEGER NOT NULL, timeout_ms INTEGER,
  created_at INTEGER NOT NULL, run_at INTEGER NOT NULL, expires_at INTEGER, started_at INTEGER, finished_at INTEGER NOT NULL,
  concurrency_key TEXT, ordered INTEGER NOT NULL, unique_key TEXT, unique_for TEXT, fingerprint BLOB, deaths INTEGER NOT NULL, reason TEXT,
  holder BLOB, settled_epoch INTEGER, settled_nonce BLOB,
  payload TEXT NOT NULL, result TEXT, extra TEXT, checkpoint TEXT, attempts TEXT
) STRICT;

-- Jobs per queue and state, kept by differences in the transaction that moves them.
CREATE TABLE counts (queue TEXT NOT NULL, state TEXT NOT NULL, jobs INTEGER NOT NULL, PRIMARY KEY (queue, state)) STRICT, WITHOUT ROWID;

CREATE TABLE queue_limits (queue TEXT PRIMARY KEY, tat INTEGER NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID;
CREATE TABLE pauses (queue TEXT PRIMARY KEY, at INTEGER NOT NULL, by TEXT NOT NULL, reason TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE settings (one INTEGER PRIMARY KEY CHECK (one = 1), settings TEXT NOT NULL) STRICT;

-- What effects write.
CREATE TABLE records (tenant TEXT NOT NULL, collection TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, event_time INTEGER, job BLOB NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (tenant, collection, key)) STRICT, WITHOUT ROWID;
CREATE TABLE sends (tenant TEXT NOT NULL, channel TEXT NOT NULL, key TEXT NOT NULL, provider_id TEXT, job BLOB NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (tenant, channel, key)) STRICT, WITHOUT ROWID;
CREATE TABLE cache (tenant TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, until INTEGER NOT NULL, PRIMARY KEY (tenant, key)) STRICT, WITHOUT ROWID;
CREATE INDEX cache_until ON cache (until);
CREATE TABLE usage (job BLOB NOT NULL, epoch INTEGER NOT NULL, n INTEGER NOT NULL, tenant TEXT, at INTEGER NOT NULL, usage TEXT NOT NULL, PRIMARY KEY (job, epoch, n)) STRICT, WITHOUT ROWID;

CREATE TABLE schedules (name TEXT PRIMARY KEY, schedule TEXT NOT NULL, generation INTEGER NOT NULL, last INTEGER NOT NULL, paused INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE occurrences (schedule TEXT NOT NULL, generation INTEGER NOT NULL, due INTEGER NOT NULL, job BLOB, skipped TEXT, through INTEGER NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (schedule, generation, due)) STRICT, WITHOUT ROWID;
CREATE INDEX occurrences_due ON occurrences (due);

CREATE TABLE audit (op_id BLOB PRIMARY KEY, at INTEGER NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL, object TEXT NOT NULL, detail TEXT) STRICT, WITHOUT ROWID;
CREATE TABLE quarantine (n INTEGER PRIMARY KEY, at INTEGER NOT NULL, place TEXT NOT NULL, reason TEXT NOT NULL, data TEXT NOT NULL) STRICT;
