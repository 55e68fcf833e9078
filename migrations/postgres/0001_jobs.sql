-- Windlass on Postgres, schema 1.
--
-- What runs often never updates a job's row and never waits for a producer's transaction:
--
-- * `jobs` holds what is queued or running. A row is inserted, leased without being touched, and deleted when its attempt
--   ends. Each line is read behind its cursor; which jobs run is told by `claims`, one row per line and lease call.
-- * A job that cannot stand in its line by its number alone (it has a key, it came late, it came back) stands in `stands`.
-- * Producers only insert. They tell the queue's next reader through `events`, which reads those of every transaction that
--   ended since it last looked, each exactly once: by transaction, so that a late commit is never lost and a long one
--   elsewhere delays nobody.
-- * Whoever leases from a queue holds its advisory lock for that transaction; `queues`, `lines`, `stands` and `gates`
--   belong to the holder of that lock.
-- * The newest version of a row in `queues` and `lines` is found by its number `n`, from the right end of the index: while
--   a transaction somewhere pins the horizon, dead versions pile up to the left of it, where nobody looks.
--
-- Times are microseconds since 1970, UTC. Names compare byte by byte (COLLATE "C").

-- What was done to this database, and whose routines are in it.
CREATE TABLE windlass.migrations (version integer PRIMARY KEY, name text NOT NULL, done_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE windlass.routines (release text PRIMARY KEY, digest text NOT NULL, installed_at timestamptz NOT NULL DEFAULT now());

-- One number a call, 1,024 rows below each: the rows of one call stand together and nobody else's among them.
CREATE SEQUENCE windlass.numbers AS bigint MAXVALUE 9007199254740991;
-- Names claims and generations of schedules; only grows.
CREATE SEQUENCE windlass.epochs AS bigint;

-- Queued or running. It has no CHECK: each would be read and planned anew at every insert.
CREATE TABLE windlass.jobs (
  seq             bigint NOT NULL,      -- a new one each time the job comes into this table
  line            bigint NOT NULL,      -- windlass_v1.line_of(queue, priority, lane)
  pos             bigint NOT NULL,      -- its position; seq, unless it had one before
  created_at      bigint NOT NULL,
  run_at          bigint NOT NULL,      -- due
  expires_at      bigint,
  timeout_ms      bigint,
  attempt         integer NOT NULL,     -- attempts charged
  max_attempts    integer NOT NULL,
  priority        smallint NOT NULL,
  deaths          smallint NOT NULL,
  special         boolean NOT NULL,     -- stands in `stands`, not behind its line's cursor
  ordered         boolean NOT NULL,
  id              uuid NOT NULL,
  kind            text COLLATE "C" NOT NULL,
  queue           text COLLATE "C" NOT NULL,
  tenant          text COLLATE "C",
  concurrency_key text COLLATE "C",
  unique_key      text COLLATE "C",
  unique_for      text COLLATE "C",     -- finished, started or window: how a redrive takes the key again
  fingerprint     bytea,                -- of the envelope, where the same id may come again
  settled_epoch   bigint,               -- the last settlement, so that it can be asked about
  settled_nonce   uuid,
  payload         text NOT NULL,
  extra           text,
  checkpoint      text,
  attempts        text[]                -- newest 20, each a JSON object
);
CREATE UNIQUE INDEX jobs_id ON windlass.jobs (id);
CREATE INDEX jobs_line ON windlass.jobs (line, seq) WHERE NOT special;

-- Scheduled or parked.
CREATE TABLE windlass.waiting (
  LIKE windlass.jobs,
  state      text COLLATE "C" NOT NULL CHECK (state IN ('scheduled', 'parked')),
  reason     text,
  park_until bigint,
  token      text COLLATE "C",
  -- Rows wait here for weeks, within everybody's reach.
  CHECK (priority BETWEEN 0 AND 9),
  CHECK (kind ~ '^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$'),
  CHECK (queue ~ '^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$')
);
CREATE UNIQUE INDEX waiting_id ON windlass.waiting (id);
CREATE INDEX waiting_scheduled ON windlass.waiting (queue, run_at, seq) WHERE state = 'scheduled';
CREATE INDEX waiting_parked ON windlass.waiting (queue, park_until, seq) WHERE state = 'parked';
CREATE INDEX waiting_token ON windlass.waiting (token) WHERE token IS NOT NULL;
CREATE INDEX waiting_unknown ON windlass.waiting (kind) WHERE reason = 'unknown_kind';

-- Gave up; stays until somebody or a rule removes it.
CREATE TABLE windlass.dead (
  LIKE windlass.jobs,
  state       text COLLATE "C" NOT NULL DEFAULT 'dead',
  reason      text,
  started_at  bigint,
  finished_at bigint NOT NULL,
  holder      uuid,
  result      text
);
CREATE UNIQUE INDEX dead_id ON windlass.dead (id);
CREATE INDEX dead_finished ON windlass.dead (finished_at);

-- Completed or cancelled, in partitions by the hour or day that it ended, which are dropped whole.
CREATE TABLE windlass.history (
  finished_at     bigint NOT NULL,
  started_at      bigint,
  created_at      bigint NOT NULL,
  run_at          bigint NOT NULL,
  expires_at      bigint,
  timeout_ms      bigint,
  settled_epoch   bigint,
  attempt         integer NOT NULL,
  max_attempts    integer NOT NULL,
  priority        smallint NOT NULL,
  deaths          smallint NOT NULL,
  ordered         boolean NOT NULL,
  id              uuid NOT NULL,
  holder          uuid,
  settled_nonce   uuid,
  state           text COLLATE "C" NOT NULL,
  kind            text COLLATE "C" NOT NULL,
  queue           text COLLATE "C" NOT NULL,
  tenant          text COLLATE "C",
  concurrency_key text COLLATE "C",
  unique_key      text COLLATE "C",
  fingerprint     bytea,
  reason          text,
  payload         text NOT NULL,
  result          text,
  extra           text,
  checkpoint      text,
  attempts        text[]
) PARTITION BY RANGE (finished_at);
CREATE INDEX history_id ON windlass.history (id);
CREATE TABLE windlass.history_rest PARTITION OF windlass.history DEFAULT;
CREATE INDEX history_rest_finished ON windlass.history_rest (finished_at);
-- How many jobs of a partition that is going to be dropped were counted so far.
CREATE TABLE windlass.leaving (
  partition name NOT NULL, queue text COLLATE "C" NOT NULL, state text COLLATE "C" NOT NULL, jobs bigint NOT NULL, block bigint NOT NULL,
  PRIMARY KEY (partition, queue, state)
);

-- What the reader of a queue has to be told. Whoever holds the queue's lock takes the rows in; see windlass_v1.account.
CREATE TABLE windlass.events (
  queue text COLLATE "C" NOT NULL,
  xid   xid8 NOT NULL DEFAULT pg_current_xact_id(),
  what  "char" NOT NULL,                -- l plain jobs in a line, s a special job, r one that came back, x a suspect,
                                        -- p look at its dependencies, z swapped, g its gate, o open its lines, c counts only
  gone  smallint,                       -- states as numbers: 1 scheduled, 2 queued, 3 running, 4 parked,
  come  smallint,                       --   5 completed, 6 cancelled, 7 dead
  jobs  integer NOT NULL,
  line  bigint,
  first bigint,                         -- seq of the first and the last of the jobs
  last  bigint,
  at    bigint,                         -- something waits for this instant
  id    uuid,
  tenant text COLLATE "C"
);
CREATE INDEX events_queue ON windlass.events (queue, xid);

-- One row a queue, but for dead versions.
CREATE TABLE windlass.queues (
  queue  text COLLATE "C" NOT NULL,
  n      bigint NOT NULL,
  seen   pg_snapshot NOT NULL,          -- events of transactions that had ended then are taken in
  own    xid8,                          -- but for those that the last holder of the lock wrote itself
  due    bigint NOT NULL,               -- nothing waits for an instant before this one
  tat    bigint NOT NULL,               -- theoretical arrival time of the queue's rate (GCRA)
  jobs   bigint[] NOT NULL,             -- by state
  lined  bigint[] NOT NULL,             -- jobs in lines, by priority + 1
  clocks bigint[] NOT NULL,             -- the virtual time at which a line joins, by priority + 1
  PRIMARY KEY (queue, n)
);

-- A line is (queue, priority, lane); the lane is the tenant in a fair queue and '' in another. One row each, as above.
CREATE TABLE windlass.lines (
  line     bigint NOT NULL,
  n        bigint NOT NULL,
  queue    text COLLATE "C" NOT NULL,
  priority smallint NOT NULL,
  lane     text COLLATE "C" NOT NULL,
  cursor   bigint NOT NULL,             -- plain jobs up to here were dealt with
  waiting  bigint NOT NULL,             -- jobs that stand in it
  heads    bigint NOT NULL,             -- of those, in `stands`
  vtime    bigint NOT NULL,             -- virtual time: grants so far, divided by weight
  closed   boolean NOT NULL,            -- the tenant is at its cap
  PRIMARY KEY (line, n)
);
CREATE INDEX lines_open ON windlass.lines (queue, priority, vtime, line) WHERE waiting > 0 AND NOT closed;
CREATE INDEX lines_closed ON windlass.lines (queue, lane) WHERE closed;

-- Queued jobs that do not stand behind a cursor.
CREATE TABLE windlass.stands (
  id       uuid PRIMARY KEY,
  what     "char" NOT NULL,             -- h in its line, before the cursor; g behind its gate; s runs alone after
                                        -- a crash; b somebody is changing it
  queue    text COLLATE "C" NOT NULL,
  line     bigint NOT NULL,
  priority smallint NOT NULL,
  pos      bigint NOT NULL,
  gate     bigint,
  ordered  boolean NOT NULL,
  behind   boolean NOT NULL,            -- an ordered job behind the one whose turn it is
  rank     smallint NOT NULL            -- priority, or 0 among ordered ones
);
CREATE INDEX stands_line ON windlass.stands (line, pos) WHERE what = 'h';
CREATE INDEX stands_inline ON windlass.stands (gate) WHERE what = 'h' AND gate IS NOT NULL;
CREATE INDEX stands_gate ON windlass.stands (gate, behind, rank, pos) WHERE what = 'g';
CREATE INDEX stands_suspect ON windlass.stands (queue, pos) WHERE what = 's';
CREATE INDEX stands_busy ON windlass.stands (queue) WHERE what = 'b';

-- One gate per (queue, concurrency key).
CREATE TABLE windlass.gates (
  gate     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  queue    text COLLATE "C" NOT NULL,
  key      text COLLATE "C" NOT NULL,
  head     uuid,                        -- the ordered job whose turn it is
  tat      bigint NOT NULL DEFAULT 0,
  opens_at bigint,                      -- closed by its rate until then
  UNIQUE (queue, key)
);
CREATE INDEX gates_opening ON windlass.gates (queue, opens_at) WHERE opens_at IS NOT NULL;
-- The slots in use.
CREATE TABLE windlass.gate_leases (id uuid PRIMARY KEY, gate bigint NOT NULL);
CREATE INDEX gate_leases_gate ON windlass.gate_leases (gate);

-- `node` names the place where only one daemon can be at a time: a new one there proves the former dead.
CREATE TABLE windlass.holders (holder uuid PRIMARY KEY, until bigint NOT NULL, node text COLLATE "C");

-- What one lease call took from one line. Written once, dropped when its last job ended; which of its jobs still run is
-- told by `jobs`, where each has the seq that stands here.
CREATE TABLE windlass.claims (
  epoch      bigint PRIMARY KEY,
  nonce      uuid NOT NULL,
  holder     uuid NOT NULL,
  queue      text COLLATE "C" NOT NULL,
  line       bigint NOT NULL,
  granted_at bigint NOT NULL,
  until      bigint NOT NULL,           -- the lease lasts until here, or longer by the holder's heartbeat
  suspect    boolean NOT NULL,
  seqs       bigint[] NOT NULL,
  ids        uuid[]                     -- of special jobs, in the same order
);
-- Read element by element: it must stay as it is, in its row.
ALTER TABLE windlass.claims ALTER seqs SET STORAGE PLAIN;
CREATE INDEX claims_holder ON windlass.claims (holder, epoch);
CREATE INDEX claims_line ON windlass.claims (line);

CREATE TABLE windlass.cancels (id uuid PRIMARY KEY, epoch bigint NOT NULL, reason text NOT NULL);
CREATE TABLE windlass.progress (id uuid PRIMARY KEY, epoch bigint NOT NULL, value text NOT NULL);

CREATE TABLE windlass.uniques (
  tenant   text COLLATE "C" NOT NULL,
  queue    text COLLATE "C" NOT NULL,
  key      text COLLATE "C" NOT NULL,
  id       uuid NOT NULL,
  held     text COLLATE "C" NOT NULL,   -- finished, started or window
  until    bigint NOT NULL,             -- end of a window
  live     boolean NOT NULL,            -- the holder is not final (and, for `started`, not started)
  first_at bigint NOT NULL,             -- when the first of a debounced series came
  PRIMARY KEY (tenant, queue, key)
);
CREATE INDEX uniques_ended ON windlass.uniques (until) WHERE NOT live;

CREATE TABLE windlass.idempotency (
  tenant text COLLATE "C" NOT NULL, key text COLLATE "C" NOT NULL, id uuid NOT NULL, fingerprint bytea NOT NULL, until bigint NOT NULL,
  PRIMARY KEY (tenant, key)
);
CREATE INDEX idempotency_until ON windlass.idempotency (until);

CREATE TABLE windlass.expiries (queue text COLLATE "C" NOT NULL, expires_at bigint NOT NULL, id uuid NOT NULL);
CREATE INDEX expiries_queue ON windlass.expiries (queue, expires_at);

-- child waits for parent to complete.
CREATE TABLE windlass.dependencies (parent uuid NOT NULL, child uuid NOT NULL, PRIMARY KEY (parent, child));
CREATE INDEX dependencies_child ON windlass.dependencies (child);

CREATE TABLE windlass.pauses (queue text COLLATE "C" PRIMARY KEY, at bigint NOT NULL, by text NOT NULL, reason text NOT NULL);

-- The configuration as the daemon wrote it, and the parts of it that statements look at; '' is what has no row.
CREATE TABLE windlass.settings (one boolean PRIMARY KEY DEFAULT true CHECK (one), settings text NOT NULL);
CREATE TABLE windlass.kinds (
  kind text COLLATE "C" PRIMARY KEY, queue text COLLATE "C" NOT NULL, priority smallint NOT NULL, max_attempts integer NOT NULL,
  timeout_ms bigint NOT NULL, park_for_ms bigint NOT NULL, dead_on_expire boolean NOT NULL
);
CREATE TABLE windlass.rules (
  queue text COLLATE "C" PRIMARY KEY, fair boolean NOT NULL, concurrency integer, tenant_concurrency integer,
  key_concurrency integer NOT NULL, rate_interval bigint, rate_burst integer, key_interval bigint, key_burst integer,
  skips_heads boolean NOT NULL, weights jsonb NOT NULL
);
INSERT INTO windlass.kinds VALUES ('', 'default', 5, 5, 300000, 604800000, false);
INSERT INTO windlass.rules VALUES ('', true, NULL, NULL, 1, NULL, NULL, NULL, NULL, false, '{}');

-- What an enqueue has to know, in one row: each table that it looks into costs its caller time.
CREATE TABLE windlass.installation (
  one           boolean PRIMARY KEY DEFAULT true CHECK (one),
  seed          bigint NOT NULL,        -- of the lines' numbers
  payload_bytes bigint NOT NULL,
  kinds         jsonb NOT NULL,         -- per kind its row in `kinds`
  unfair        text[] NOT NULL,        -- queues in which tenants have no lines of their own
  bound         boolean NOT NULL        -- some roles are bound to a tenant
);
INSERT INTO windlass.installation
SELECT true, hashtextextended(gen_random_uuid()::text, 0), 1048576, (SELECT jsonb_object_agg(kind, to_jsonb(k)) FROM windlass.kinds k), '{}', false;

-- What effects write.
CREATE TABLE windlass.records (
  tenant text COLLATE "C" NOT NULL, collection text COLLATE "C" NOT NULL, key text COLLATE "C" NOT NULL, value text NOT NULL,
  event_time bigint, job uuid NOT NULL, at bigint NOT NULL, PRIMARY KEY (tenant, collection, key)
);
CREATE TABLE windlass.sends (
  tenant text COLLATE "C" NOT NULL, channel text COLLATE "C" NOT NULL, key text COLLATE "C" NOT NULL, provider_id text,
  job uuid NOT NULL, at bigint NOT NULL, PRIMARY KEY (tenant, channel, key)
);
CREATE TABLE windlass.cache (
  tenant text COLLATE "C" NOT NULL, key text COLLATE "C" NOT NULL, value text NOT NULL, until bigint NOT NULL, PRIMARY KEY (tenant, key)
);
CREATE INDEX cache_until ON windlass.cache (until);
CREATE TABLE windlass.usage (
  job uuid NOT NULL, epoch bigint NOT NULL, n integer NOT NULL, tenant text COLLATE "C", at bigint NOT NULL, usage text NOT NULL,
  PRIMARY KEY (job, epoch, n)
);

CREATE TABLE windlass.schedules (
  name text COLLATE "C" PRIMARY KEY, schedule text NOT NULL, generation bigint NOT NULL, last bigint NOT NULL, paused boolean NOT NULL
);
CREATE TABLE windlass.occurrences (
  schedule text COLLATE "C" NOT NULL, generation bigint NOT NULL, due bigint NOT NULL, job uuid, skipped text, through bigint NOT NULL,
  count bigint NOT NULL, PRIMARY KEY (schedule, generation, due)
);
CREATE INDEX occurrences_due ON windlass.occurrences (due);

CREATE TABLE windlass.audit (op_id uuid PRIMARY KEY, at bigint NOT NULL, actor text NOT NULL, action text NOT NULL, object text NOT NULL, detail text);
CREATE TABLE windlass.quarantine (
  n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at bigint NOT NULL, place text NOT NULL, reason text NOT NULL, data text NOT NULL
);

-- Rows come and go by the hundred thousand: vacuum by number, not by share, and without pausing.
ALTER TABLE windlass.jobs SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 50000, autovacuum_vacuum_cost_delay = 0,
  autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 50000);
ALTER TABLE windlass.events SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE windlass.queues SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE windlass.lines SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE windlass.claims SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE windlass.stands SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE windlass.gates SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE windlass.holders SET (fillfactor = 20);
