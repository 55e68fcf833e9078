-- Granting: which due jobs start now. Priority first, then the line of the lowest virtual time, then position. First it is
-- decided and written, claim by claim; then what was granted is read in one piece.

DO $$ BEGIN
  CREATE TYPE {v}.granted AS (
    epoch bigint, ord integer, granted_at bigint, id uuid, kind text, queue text, tenant text, payload text, attempt integer,
    max_attempts integer, timeout_ms bigint, created_at bigint, run_at bigint, expires_at bigint, concurrency_key text, extra text,
    checkpoint text, nonce uuid);
  -- What one lease call has in hand while it decides.
  CREATE TYPE {v}.call AS (
    holder uuid, nonce uuid, kinds text[], until bigint, now bigint, bytes bigint, looks bigint, suspect boolean, granted bigint, epochs bigint[]);
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;

-- The jobs of some claims, as a daemon gets them.
CREATE OR REPLACE FUNCTION {v}.read_claims(p_epochs bigint[]) RETURNS SETOF {v}.granted
LANGUAGE plpgsql STABLE AS $$
DECLARE
  c windlass.claims;
BEGIN
  FOR c IN SELECT k.* FROM unnest(p_epochs) WITH ORDINALITY e (epoch, n) JOIN windlass.claims k ON k.epoch = e.epoch ORDER BY e.n LOOP
    IF c.ids IS NULL THEN
      RETURN QUERY SELECT c.epoch, s.ord::integer, c.granted_at, j.id, j.kind, j.queue, j.tenant, j.payload, j.attempt, j.max_attempts, j.timeout_ms, j.created_at,
        j.run_at, j.expires_at, j.concurrency_key, j.extra, j.checkpoint, c.nonce
      FROM unnest(c.seqs) WITH ORDINALITY s (seq, ord) JOIN windlass.jobs j ON j.line = c.line AND j.seq = s.seq AND NOT j.special ORDER BY s.ord;
    ELSE
      RETURN QUERY SELECT c.epoch, s.ord::integer, c.granted_at, j.id, j.kind, j.queue, j.tenant, j.payload, j.attempt, j.max_attempts, j.timeout_ms, j.created_at,
        j.run_at, j.expires_at, j.concurrency_key, j.extra, j.checkpoint, c.nonce
      FROM unnest(c.seqs, c.ids) WITH ORDINALITY s (seq, id, ord) JOIN windlass.jobs j ON j.id = s.id AND j.seq = s.seq ORDER BY s.ord;
    END IF;
  END LOOP;
END $$;

-- One lease call over several queues. The last row has no id: its `granted_at` is when the next job may become due, its
-- `ord` says 1 when there may be more at once, 2 when another daemon was busy with one of the queues.
-- It reads in an index's order and stops: a bitmap, which statistics of an almost empty table suggest, would read all that waits.
CREATE OR REPLACE FUNCTION {v}.lease(p_holder uuid, p_nonce uuid, p_queues text[], p_wants integer[], p_kinds text[], p_max_bytes bigint, p_lease_us bigint, p_node text, p_now bigint)
RETURNS SETOF {v}.granted
LANGUAGE plpgsql VOLATILE SET plan_cache_mode = force_generic_plan SET jit = off SET lock_timeout = '2s' SET enable_bitmapscan = off SET enable_seqscan = off AS $$
DECLARE
  v_now bigint := {v}.clock(p_now);
  c {v}.call;
  o windlass.queues;
  q windlass.queues;
  v_more integer := 0;
  v_due bigint;
  v_wanted bigint := 0;
  v_want bigint;
  v_plain bigint;
  v_answered bigint := 0;
  v_lones bigint := 0;
  v_events bigint;
  v_lone boolean;
  v_place tid;
  v_line bigint;
  v_seq bigint;
  v_seen pg_snapshot;
  v_last {v}.granted;
  l windlass.lines;
  v_rules windlass.rules;
  v_paused boolean;
  v_suspects boolean;
  v_slow boolean := false;
  v_step bigint;
  r record;
BEGIN
  FOREACH v_plain IN ARRAY p_wants LOOP
    v_wanted := v_wanted + v_plain;
  END LOOP;
  c := (p_holder, p_nonce, p_kinds, v_now + p_lease_us, v_now, p_max_bytes, v_wanted * 4 + 1000, false, 0, '{}');
  FOR i IN 1 .. array_length(p_queues, 1) LOOP
    IF p_wants[i] <= 0 OR c.bytes <= 0 OR c.looks <= 0 THEN
      CONTINUE;
    ELSIF NOT {v}.try_lock(p_queues[i]) THEN
      v_more := 2;
      CONTINUE;
    END IF;
    q := {v}.read_queue(p_queues[i]);
    IF q.jobs[2] = 0 AND 0 = ALL (q.lined) AND q.due > v_now AND q.seen::text LIKE '%:' THEN
      -- Nothing waits, and nobody was under way when that was seen: most often nothing came, or one job.
      SELECT count(*), bool_and(what = 'l' AND jobs = 1 AND gone IS NULL AND at IS NULL), min(ctid), min(line), min(first), pg_current_snapshot()
      INTO v_events, v_lone, v_place, v_line, v_seq, v_seen
      FROM (SELECT ctid, what, jobs, gone, at, line, first FROM windlass.events WHERE queue = q.queue AND xid >= least(q.own, pg_snapshot_xmax(q.seen)) LIMIT 2) t;
      IF v_events = 1 AND v_lone THEN
        v_last := {v}.lease_lone(q, c, v_place, v_line, v_seq, v_seen);
      END IF;
      IF v_events = 0 OR v_last.id IS NOT NULL THEN
        v_due := least(v_due, q.due);
        CONTINUE WHEN v_events = 0;
        RETURN NEXT v_last;
        v_lones := v_lones + 1;
        c.bytes := c.bytes - octet_length(v_last.payload);
        v_last := NULL;
        CONTINUE;
      END IF;
    END IF;
    o := q;
    r := {v}.account(q, v_now);
    q := r.q;
    IF r.p_more THEN
      v_more := 1;
    END IF;
    IF q.due <= v_now THEN
      v_slow := true;
      r := {v}.advance_queue(q, v_now);
      q := r.p_queue;
      IF r.p_more THEN
        v_more := 1;
      END IF;
    END IF;
    v_want := p_wants[i];
    SELECT u AS rules, EXISTS (SELECT FROM windlass.pauses WHERE queue = q.queue AND (until IS NULL OR until > v_now)) AS paused, EXISTS (SELECT FROM windlass.stands WHERE queue = q.queue AND what = 's') AS suspects
    INTO r FROM windlass.rules u WHERE u.queue IN (q.queue, '') ORDER BY u.queue DESC LIMIT 1;
    v_rules := r.rules;
    v_paused := r.paused;
    v_suspects := r.suspects;
    WHILE NOT v_paused AND NOT v_suspects AND v_rules.concurrency IS NULL AND v_rules.rate_interval IS NULL AND v_rules.tenant_concurrency IS NULL LOOP
      v_plain := 0;
      l := {v}.lone_line(q);
      IF l.line IS NOT NULL THEN
        v_step := {v}.step(v_rules, l.lane);
        -- The plain case, which is most of all: one line, read behind its cursor, granted and answered in one statement. A job
        -- that must be looked at, or more bytes than may go, and nothing of it happens.
        RETURN QUERY WITH
          b AS MATERIALIZED (
            SELECT seq, ctid AS tid, id, kind, queue, tenant, payload, attempt, max_attempts, timeout_ms, created_at, run_at, expires_at, concurrency_key, extra, checkpoint,
              kind = ANY (p_kinds) AND (expires_at IS NULL OR expires_at > v_now OR attempts IS NOT NULL) AS good
            FROM windlass.jobs WHERE line = l.line AND seq > l.cursor AND NOT special ORDER BY seq LIMIT least(v_want, 500)),
          claim AS (
            INSERT INTO windlass.claims
            SELECT nextval('windlass.epochs'), p_nonce, p_holder, l.queue, l.line, v_now, v_now + p_lease_us, false, array_agg(seq), NULL::uuid[], array_agg(tid)
            FROM b HAVING bool_and(good) AND sum(octet_length(payload)) <= c.bytes RETURNING epoch, seqs),
          moved AS (
            UPDATE windlass.lines SET n = n + 1, cursor = k.seqs[cardinality(k.seqs)], waiting = waiting - cardinality(k.seqs), vtime = vtime + v_step * cardinality(k.seqs)
            FROM claim k WHERE line = l.line AND n = l.n)
          SELECT k.epoch, row_number() OVER ()::integer, v_now, b.id, b.kind, b.queue, b.tenant, b.payload, b.attempt, b.max_attempts, b.timeout_ms, b.created_at,
            b.run_at, b.expires_at, b.concurrency_key, b.extra, b.checkpoint, p_nonce
          FROM b, claim k;
        GET DIAGNOSTICS v_plain = ROW_COUNT;
      END IF;
      EXIT WHEN v_plain = 0;
      v_answered := v_answered + v_plain;
      q.jobs[2] := q.jobs[2] - v_plain;
      q.jobs[3] := q.jobs[3] + v_plain;
      q.lined[l.priority + 1] := q.lined[l.priority + 1] - v_plain;
      q.clocks[l.priority + 1] := greatest(q.clocks[l.priority + 1], l.vtime + v_step * (v_plain - 1));
      v_want := v_want - v_plain;
      EXIT WHEN v_want <= 0 OR 0 = ALL (q.lined);
      SELECT c.bytes - sum(octet_length(payload)) INTO c.bytes FROM windlass.jobs
      WHERE line = l.line AND seq > l.cursor AND seq <= ({v}.line(l.line)).cursor AND NOT special;
    END LOOP;
    IF v_want > 0 AND c.bytes > 0 AND NOT v_paused AND (v_suspects OR 0 < ANY (q.lined)) THEN
      v_slow := true;
      r := {v}.lease_from(q, c, v_rules, least(v_want, 10000));
      q := r.p_queue;
      c := r.p_call;
      v_due := least(v_due, r.p_opens);
    END IF;
    v_due := least(v_due, q.due);
    IF {v}.save_queue(q, o) AND v_slow THEN
      IF EXISTS (SELECT FROM windlass.events WHERE queue = q.queue AND xid = pg_current_xact_id()) THEN
        v_more := 1;
      END IF;
    END IF;
    IF c.granted + v_answered + v_lones >= 10000 THEN
      v_more := 1;
      EXIT;
    END IF;
  END LOOP;
  IF c.bytes <= 0 OR c.looks <= 0 THEN
    v_more := 1;
  END IF;
  IF current_setting('windlass.told', true) <> '' THEN
    PERFORM {v}.catch_up_told(v_now);
  END IF;
  IF c.granted + v_answered > 0 THEN
    IF NOT EXISTS (SELECT FROM windlass.holders WHERE holder = p_holder AND until >= 0) THEN
      INSERT INTO windlass.holders VALUES (p_holder, v_now, p_node) ON CONFLICT (holder) DO UPDATE SET until = excluded.until, node = excluded.node;
    END IF;
  END IF;
  IF c.granted > 0 THEN
    RETURN QUERY SELECT * FROM {v}.read_claims(c.epochs);
  END IF;
  v_last.granted_at := nullif(v_due, 9223372036854775807);
  v_last.ord := v_more;
  RETURN NEXT v_last;
END $$;

-- Most jobs come alone, to a daemon that waits for them: one look at all that speaks for it, and one statement that grants it.
-- The only event that queue `q` was told since, at `p_place`, is that job `p_seq` stands in line `p_line`. Where more would have to
-- be looked at, nothing happens.
CREATE OR REPLACE FUNCTION {v}.lease_lone(q windlass.queues, c {v}.call, p_place tid, p_line bigint, p_seq bigint, p_seen pg_snapshot) RETURNS {v}.granted
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  f record;
  v_epoch bigint;
  v_vtime bigint;
BEGIN
  SELECT l.n, l.priority, l.vtime, j.ctid AS tid, j.id, j.kind, j.tenant, j.payload, j.attempt, j.max_attempts, j.timeout_ms, j.created_at, j.run_at, j.expires_at,
    j.concurrency_key, j.extra, j.checkpoint, (
      SELECT CASE WHEN r.concurrency IS NULL AND r.rate_interval IS NULL AND r.tenant_concurrency IS NULL THEN {v}.step(r, l.lane) END
      FROM windlass.rules r WHERE r.queue IN (q.queue, '') ORDER BY r.queue DESC LIMIT 1) AS step
  INTO f
  FROM windlass.lines l JOIN windlass.jobs j ON j.line = p_line AND j.seq = p_seq AND NOT j.special
  WHERE l.line = p_line AND l.n = (SELECT max(n) FROM windlass.lines WHERE line = p_line) AND l.waiting = 0 AND l.cursor < p_seq AND NOT l.closed
    AND j.kind = ANY (c.kinds) AND octet_length(j.payload) <= c.bytes AND (j.expires_at IS NULL OR j.expires_at > c.now OR j.attempts IS NOT NULL)
    AND NOT EXISTS (SELECT FROM windlass.pauses WHERE queue = q.queue AND (until IS NULL OR until > c.now)) AND EXISTS (SELECT FROM windlass.holders WHERE holder = c.holder AND until >= 0);
  IF f.step IS NULL THEN
    RETURN NULL;
  END IF;
  v_vtime := greatest(f.vtime, q.clocks[f.priority + 1]);
  WITH told AS (DELETE FROM windlass.events WHERE ctid = p_place),
    moved AS (UPDATE windlass.lines SET n = n + 1, cursor = p_seq, vtime = v_vtime + f.step WHERE line = p_line AND n = f.n),
    saved AS (
      UPDATE windlass.queues SET n = n + 1, seen = p_seen, own = pg_current_xact_id(), jobs[3] = jobs[3] + 1, clocks[f.priority + 1] = v_vtime
      WHERE queue = q.queue AND n = q.n)
  INSERT INTO windlass.claims VALUES (nextval('windlass.epochs'), c.nonce, c.holder, q.queue, p_line, c.now, c.until, false, ARRAY[p_seq], NULL, ARRAY[f.tid])
  RETURNING epoch INTO v_epoch;
  RETURN (v_epoch, 1, c.now, f.id, f.kind, q.queue, f.tenant, f.payload, f.attempt, f.max_attempts, f.timeout_ms, f.created_at, f.run_at, f.expires_at, f.concurrency_key,
    f.extra, f.checkpoint, c.nonce);
END $$;

-- The only line of its priority in which anybody stands, if nobody in it stands before its cursor.
CREATE OR REPLACE FUNCTION {v}.lone_line(q windlass.queues) RETURNS windlass.lines
LANGUAGE plpgsql STABLE AS $$
DECLARE
  l windlass.lines;
BEGIN
  FOR i IN 1 .. 10 LOOP
    IF q.lined[i] > 0 THEN
      SELECT * INTO l FROM windlass.lines
      WHERE queue = q.queue AND priority = i - 1 AND waiting > 0 AND NOT closed AND vtime >= q.clocks[i] ORDER BY vtime, line LIMIT 1;
      IF l.waiting = q.lined[i] AND l.heads = 0 THEN
        RETURN l;
      END IF;
      RETURN NULL;
    END IF;
  END LOOP;
  RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION {v}.lease_from(q windlass.queues, c {v}.call, r windlass.rules, p_want bigint, OUT p_queue windlass.queues, OUT p_call {v}.call, OUT p_opens bigint)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  v_want bigint := p_want;
  v_before bigint := c.granted;
  v_left bigint;
  s record;
BEGIN
  p_queue := q;
  p_call := c;
  IF r.concurrency IS NOT NULL THEN
    v_want := least(v_want, r.concurrency - {v}.queue_running(q.queue));
  END IF;
  IF r.rate_interval IS NOT NULL THEN
    p_queue.tat := {v}.rate_keeps(r.rate_interval, r.rate_burst, q.tat, c.now);
    v_want := least(v_want, {v}.rate_admits(r.rate_interval, r.rate_burst, p_queue.tat, c.now));
  END IF;
  IF v_want > 0 THEN
    s := {v}.lease_suspect(p_queue, p_call, r);
    p_queue := s.p_queue;
    p_call := s.p_call;
    v_want := v_want - (p_call.granted - v_before);
    FOR v_priority IN 0 .. 9 LOOP
      -- A call that parks or drops what it finds may have to look again.
      WHILE v_want > 0 AND p_queue.lined[v_priority + 1] > 0 AND p_call.bytes > 0 AND p_call.looks > 0 LOOP
        v_left := p_call.granted;
        s := {v}.lease_lines(p_queue, p_call, r, v_priority::smallint, v_want);
        p_queue := s.p_queue;
        p_call := s.p_call;
        v_want := v_want - (p_call.granted - v_left);
        EXIT WHEN s.p_nobody;
      END LOOP;
    END LOOP;
  END IF;
  IF r.rate_interval IS NOT NULL THEN
    IF p_call.granted > v_before THEN
      p_queue.tat := greatest(p_queue.tat, c.now) + r.rate_interval * (p_call.granted - v_before);
    END IF;
    p_opens := {v}.rate_opens(r.rate_interval, r.rate_burst, p_queue.tat);
    IF p_opens <= c.now THEN
      p_opens := NULL;
    END IF;
  END IF;
END $$;

-- Slots in use are told by the rows of running jobs, never by a counter.
CREATE OR REPLACE FUNCTION {v}.queue_running(p_queue text) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN (
    SELECT count(*) FROM windlass.claims c CROSS JOIN LATERAL unnest(c.seqs) WITH ORDINALITY s (seq, ord)
    JOIN LATERAL (
      SELECT FROM windlass.jobs j WHERE c.ids IS NULL AND j.line = c.line AND j.seq = s.seq AND NOT j.special
      UNION ALL SELECT FROM windlass.jobs j WHERE c.ids IS NOT NULL AND j.id = c.ids[s.ord] AND j.seq = s.seq) j ON true
    WHERE c.queue = p_queue);
END $$;

CREATE OR REPLACE FUNCTION {v}.tenant_running(p_queue text, p_tenant text) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN (
    SELECT count(*) FROM windlass.claims c JOIN windlass.lines l ON l.line = c.line AND l.n = (SELECT max(n) FROM windlass.lines WHERE line = c.line)
    CROSS JOIN LATERAL unnest(c.seqs) WITH ORDINALITY s (seq, ord)
    JOIN LATERAL (
      SELECT FROM windlass.jobs j WHERE c.ids IS NULL AND j.line = c.line AND j.seq = s.seq AND NOT j.special
      UNION ALL SELECT FROM windlass.jobs j WHERE c.ids IS NOT NULL AND j.id = c.ids[s.ord] AND j.seq = s.seq) j ON true
    WHERE c.queue = p_queue AND l.lane = p_tenant);
END $$;

-- How many more of a line may start, by its tenant's cap.
CREATE OR REPLACE FUNCTION {v}.tenant_room(r windlass.rules, l windlass.lines) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
BEGIN
  IF r.tenant_concurrency IS NULL OR l.lane = '' THEN
    RETURN 9223372036854775807;
  END IF;
  RETURN r.tenant_concurrency - {v}.tenant_running(l.queue, l.lane);
END $$;

-- A job that was running when a process died runs as the only one of its sort of this holder.
CREATE OR REPLACE FUNCTION {v}.lease_suspect(q windlass.queues, c {v}.call, r windlass.rules, OUT p_queue windlass.queues, OUT p_call {v}.call)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  s windlass.stands;
  l windlass.lines;
  g record;
BEGIN
  p_queue := q;
  p_call := c;
  SELECT * INTO s FROM windlass.stands WHERE queue = q.queue AND what = 's' ORDER BY pos LIMIT 1;
  IF NOT FOUND OR c.suspect OR EXISTS (
    SELECT FROM windlass.claims k JOIN windlass.jobs j ON j.id = k.ids[1] AND j.seq = k.seqs[1] WHERE k.holder = c.holder AND k.suspect) THEN
    RETURN;
  ELSIF s.gate IS NOT NULL AND NOT {v}.gate_has_slot(q.queue, s.gate, c.now) THEN
    RETURN;
  END IF;
  l := {v}.line(s.line);
  IF {v}.tenant_room(r, l) <= 0 THEN
    RETURN;
  END IF;
  g := {v}.grant_special(p_queue, p_call, s, true);
  p_queue := g.p_queue;
  p_call := g.p_call;
  p_call.suspect := p_call.granted > c.granted;
END $$;

-- Virtual time of one grant at weight 1: divisible by all small weights.
CREATE OR REPLACE FUNCTION {v}.step(r windlass.rules, p_lane text) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$ SELECT 720720 / least(greatest(coalesce((r.weights ->> p_lane)::bigint, 1), 1), 720720) $$;

-- Serves the lines of one priority, the one of lowest virtual time first, until nothing more is wanted or stands there.
CREATE OR REPLACE FUNCTION {v}.lease_lines(q windlass.queues, c {v}.call, r windlass.rules, p_priority smallint, p_want bigint,
  OUT p_queue windlass.queues, OUT p_call {v}.call, OUT p_nobody boolean)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  l windlass.lines;
  v_next bigint;
  v_quota bigint;
  v_room bigint;
  v_step bigint;
  v_want bigint := p_want;
  v_granted bigint;
  g record;
BEGIN
  p_queue := q;
  p_call := c;
  p_nobody := false;
  WHILE v_want > 0 AND p_call.bytes > 0 AND p_call.looks > 0 LOOP
    -- Virtual times only grow, so that dead versions of lines stand before the queue's clock.
    SELECT * INTO l FROM windlass.lines
    WHERE queue = q.queue AND priority = p_priority AND waiting > 0 AND NOT closed AND vtime >= p_queue.clocks[p_priority + 1] ORDER BY vtime, line LIMIT 1;
    IF NOT FOUND THEN
      p_nobody := true;
      RETURN;
    END IF;
    v_quota := v_want;
    v_step := {v}.step(r, l.lane);
    IF r.fair THEN
      SELECT vtime INTO v_next FROM windlass.lines
      WHERE queue = q.queue AND priority = p_priority AND waiting > 0 AND NOT closed AND vtime >= p_queue.clocks[p_priority + 1] ORDER BY vtime, line OFFSET 1 LIMIT 1;
      IF FOUND THEN
        v_quota := least(v_quota, (v_next - l.vtime) / v_step + 1);
      END IF;
    END IF;
    v_room := {v}.tenant_room(r, l);
    v_granted := p_call.granted;
    g := {v}.lease_line(p_queue, p_call, l, least(v_quota, v_room));
    p_queue := g.p_queue;
    p_call := g.p_call;
    v_granted := p_call.granted - v_granted;
    v_want := v_want - v_granted;
    IF v_granted > 0 THEN
      p_queue.clocks[p_priority + 1] := greatest(p_queue.clocks[p_priority + 1], l.vtime + v_step * (v_granted - 1));
    END IF;
    l := {v}.line(l.line);
    UPDATE windlass.lines SET n = n + 1, vtime = vtime + v_step * v_granted, closed = v_granted >= v_room,
      -- A line in which nothing is found has nothing, whatever was counted.
      waiting = CASE WHEN g.p_looked = 0 AND v_room > 0 THEN 0 ELSE waiting END, heads = CASE WHEN g.p_looked = 0 AND v_room > 0 THEN 0 ELSE heads END
    WHERE line = l.line AND n = l.n;
    IF g.p_looked = 0 AND v_room > 0 THEN
      p_queue.lined[p_priority + 1] := p_queue.lined[p_priority + 1] - l.waiting;
    END IF;
  END LOOP;
END $$;

-- Takes up to `p_quota` jobs from the head of one line: those before its cursor and those behind it, by position.
CREATE OR REPLACE FUNCTION {v}.lease_line(q windlass.queues, c {v}.call, l windlass.lines, p_quota bigint,
  OUT p_queue windlass.queues, OUT p_call {v}.call, OUT p_looked bigint)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  s windlass.stands;
  v_quota bigint := p_quota;
  v_looked bigint;
  v_plain bigint;
  g record;
BEGIN
  p_queue := q;
  p_call := c;
  p_looked := 0;
  WHILE v_quota > 0 AND p_call.bytes > 0 AND p_call.looks > 0 LOOP
    s := NULL;
    IF l.heads > 0 THEN
      SELECT * INTO s FROM windlass.stands WHERE line = l.line AND what = 'h' ORDER BY pos LIMIT 1;
    END IF;
    v_looked := 0;
    IF s.id IS NOT NULL THEN
      SELECT seq INTO v_plain FROM windlass.jobs WHERE line = l.line AND seq > l.cursor AND NOT special ORDER BY seq LIMIT 1;
    END IF;
    IF s.id IS NULL OR v_plain < s.pos THEN
      g := {v}.grant_plain(p_queue, p_call, l, least(v_quota, p_call.looks, 500), coalesce(s.pos, 9223372036854775807));
      v_looked := g.p_looked;
    END IF;
    IF v_looked = 0 THEN
      EXIT WHEN s.id IS NULL;
      g := {v}.grant_special(p_queue, p_call, s, false);
      v_looked := 1;
    END IF;
    v_quota := v_quota - v_looked;
    p_looked := p_looked + v_looked;
    p_queue := g.p_queue;
    p_call := g.p_call;
    p_call.looks := p_call.looks - v_looked;
    l := {v}.line(l.line);
  END LOOP;
END $$;

-- Grants plain jobs behind the cursor of a line, below the position `p_below`.
CREATE OR REPLACE FUNCTION {v}.grant_plain(q windlass.queues, c {v}.call, l windlass.lines, p_quota bigint, p_below bigint,
  OUT p_queue windlass.queues, OUT p_call {v}.call, OUT p_looked bigint)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  v_seqs bigint[];
  v_tids tid[];
  v_odd bigint[];
  v_last bigint;
  v_bytes bigint;
  v_good boolean;
  v_epoch bigint;
  v_granted bigint;
  j windlass.jobs;
BEGIN
  p_queue := q;
  p_call := c;
  SELECT array_agg(seq), array_agg(tid), count(*), max(seq), sum(bytes), bool_and(good) INTO v_seqs, v_tids, p_looked, v_last, v_bytes, v_good FROM (
    SELECT seq, ctid AS tid, octet_length(payload) AS bytes, kind = ANY (c.kinds) AND (expires_at IS NULL OR expires_at > c.now OR attempts IS NOT NULL) AS good
    FROM windlass.jobs WHERE line = l.line AND seq > l.cursor AND seq < p_below AND NOT special ORDER BY seq LIMIT p_quota) b;
  IF NOT v_good OR v_bytes > c.bytes THEN
    -- The same with an eye on each.
    WITH b AS MATERIALIZED (
      SELECT seq, ctid AS tid, octet_length(payload) AS bytes,
        kind = ANY (c.kinds) AND (expires_at IS NULL OR expires_at > c.now OR attempts IS NOT NULL) AS good
      FROM windlass.jobs WHERE line = l.line AND seq > l.cursor AND seq <= v_last AND seq = ANY (v_seqs) AND NOT special ORDER BY seq),
    r AS (SELECT *, sum(bytes) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) - bytes AS before FROM b)
    SELECT array_agg(seq) FILTER (WHERE good), array_agg(tid) FILTER (WHERE good), array_agg(seq) FILTER (WHERE NOT good), count(*), max(seq), sum(bytes)
    INTO v_seqs, v_tids, v_odd, p_looked, v_last, v_bytes FROM r WHERE before < c.bytes;
  END IF;
  IF p_looked = 0 THEN
    RETURN;
  END IF;
  UPDATE windlass.lines SET n = n + 1, cursor = v_last, waiting = waiting - p_looked WHERE line = l.line AND n = l.n;
  p_queue.lined[l.priority + 1] := p_queue.lined[l.priority + 1] - p_looked;
  p_call.bytes := c.bytes - v_bytes;
  IF v_seqs IS NOT NULL THEN
    INSERT INTO windlass.claims VALUES (nextval('windlass.epochs'), c.nonce, c.holder, l.queue, l.line, c.now, c.until, false, v_seqs, NULL, v_tids) RETURNING epoch INTO v_epoch;
    v_granted := cardinality(v_seqs);
    p_call.epochs := c.epochs || v_epoch;
    p_call.granted := c.granted + v_granted;
    p_queue := {v}.moved(p_queue, 2::smallint, 3::smallint, v_granted);
  END IF;
  IF v_odd IS NOT NULL THEN
    FOR j IN
      DELETE FROM windlass.jobs WHERE ctid = ANY (ARRAY(
        SELECT j.place FROM unnest(v_odd) s (seq)
        CROSS JOIN LATERAL (SELECT ctid AS place FROM windlass.jobs WHERE line = l.line AND seq = s.seq AND NOT special OFFSET 0) j)) RETURNING *
    LOOP
      p_queue := {v}.not_granted(p_queue, j, c);
    END LOOP;
  END IF;
END $$;

-- A job whose row was just taken out of `jobs` must not start: it is expired, or nobody here knows its kind.
CREATE OR REPLACE FUNCTION {v}.not_granted(q windlass.queues, j windlass.jobs, c {v}.call) RETURNS windlass.queues
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  k windlass.kinds := {v}.kind(j.kind);
BEGIN
  IF NOT {v}.is_name(j.kind) THEN
    PERFORM {v}.put_aside(j, 'kind: is no name', c.now);
    RETURN {v}.moved(q, 2::smallint, NULL, 1);
  ELSIF j.expires_at <= c.now AND j.attempts IS NULL THEN
    RETURN {v}.end_waiting(q, j, 2::smallint, CASE WHEN k.dead_on_expire THEN 'dead' ELSE 'cancelled' END, 'expired', c.now);
  END IF;
  INSERT INTO windlass.waiting ({job}, state, reason, park_until) SELECT {job j}, 'parked', 'unknown_kind', {v}.plus_ms(c.now, k.park_for_ms);
  q.due := least(q.due, {v}.plus_ms(c.now, k.park_for_ms));
  RETURN {v}.moved(q, 2::smallint, 4::smallint, 1);
END $$;

-- Grants one job that stands before a cursor or as a suspect, unless its gate is closed or it must not start. `p_passed`:
-- somebody is changing it just now, and a little later it is looked at again.
CREATE OR REPLACE FUNCTION {v}.grant_special(q windlass.queues, c {v}.call, s windlass.stands, p_suspect boolean,
  OUT p_queue windlass.queues, OUT p_call {v}.call, OUT p_passed boolean)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  j windlass.jobs;
  k windlass.kinds;
  v_epoch bigint;
  v_starts boolean := true;
  g record;
BEGIN
  p_queue := q;
  p_call := c;
  p_passed := false;
  SELECT * INTO j FROM windlass.jobs WHERE id = s.id FOR UPDATE SKIP LOCKED;
  p_passed := NOT FOUND AND EXISTS (SELECT FROM windlass.jobs WHERE id = s.id);
  IF j.unique_for = 'started' THEN
    -- Who swaps it locks the key first.
    PERFORM FROM windlass.uniques WHERE tenant = coalesce(j.tenant, '') AND queue = j.queue AND key = j.unique_key AND id = j.id FOR UPDATE SKIP LOCKED;
    p_passed := NOT FOUND AND EXISTS (SELECT FROM windlass.uniques WHERE tenant = coalesce(j.tenant, '') AND queue = j.queue AND key = j.unique_key AND id = j.id);
  END IF;
  IF p_passed THEN
    IF NOT p_suspect THEN
      UPDATE windlass.stands SET what = 'b' WHERE id = s.id;
      p_queue := {v}.line_waits(p_queue, {v}.line(s.line), -1, -1);
    END IF;
    p_queue.due := least(p_queue.due, c.now + 20000);
    RETURN;
  END IF;
  DELETE FROM windlass.stands WHERE id = s.id;
  IF NOT p_suspect THEN
    p_queue := {v}.line_waits(p_queue, {v}.line(s.line), -1, -1);
  END IF;
  IF j.id IS NULL THEN
    IF s.gate IS NOT NULL THEN
      p_queue := {v}.turn_over(p_queue, s.gate, s.id, c.now);
    END IF;
    RETURN;
  END IF;
  IF j.kind <> ALL (c.kinds) OR j.expires_at <= c.now AND j.attempts IS NULL THEN
    DELETE FROM windlass.jobs WHERE id = j.id;
    k := {v}.kind(j.kind);
    p_queue := {v}.not_granted(p_queue, j, c);
    IF s.gate IS NOT NULL THEN
      -- Its turn stays with an ordered job that waits for a daemon that knows it, as with one that waits to be retried.
      IF j.expires_at <= c.now AND j.attempts IS NULL OR NOT {v}.is_name(j.kind) OR ({v}.rules(q.queue)).skips_heads THEN
        p_queue := {v}.turn_over(p_queue, s.gate, s.id, c.now);
      ELSE
        p_queue := {v}.refill(p_queue, s.gate, c.now);
      END IF;
    END IF;
    RETURN;
  END IF;
  IF s.gate IS NOT NULL THEN
    g := {v}.gate_starts(p_queue, s, c.now);
    p_queue := g.p_queue;
    v_starts := g.p_starts;
  END IF;
  IF v_starts THEN
    IF j.unique_for = 'started' THEN
      DELETE FROM windlass.uniques WHERE tenant = coalesce(j.tenant, '') AND queue = j.queue AND key = j.unique_key AND id = j.id AND held = 'started';
    END IF;
    INSERT INTO windlass.claims VALUES (nextval('windlass.epochs'), c.nonce, c.holder, j.queue, j.line, c.now, c.until, p_suspect, ARRAY[j.seq], ARRAY[j.id]) RETURNING epoch INTO v_epoch;
    p_call.epochs := c.epochs || v_epoch;
    p_call.granted := c.granted + 1;
    p_call.bytes := c.bytes - octet_length(j.payload);
    p_queue := {v}.moved(p_queue, 2::smallint, 3::smallint, 1);
  END IF;
  IF s.gate IS NOT NULL THEN
    p_queue := {v}.refill(p_queue, s.gate, c.now);
  END IF;
END $$;
