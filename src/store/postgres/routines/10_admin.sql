-- What people and programs ask for beside the flow. Each act leaves one audit row whose id is its `op_id`; the same act asked
-- again changes nothing. Nothing waits longer than two seconds for somebody else's row, the queue's lock in hand. Errors: WLN01 not found, WLN02 not allowed, WLC02 the unique key is held.

CREATE OR REPLACE FUNCTION {v}.audited(p_op uuid, p_actor text, p_action text, p_object text, p_detail text, p_now bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  -- The table leaves an act alone that it knows, and says that there is no row.
  INSERT INTO windlass.audit (op_id, at, actor, action, object, detail) VALUES (p_op, p_now, p_actor, p_action, p_object, p_detail);
  RETURN FOUND;
END $$;

CREATE OR REPLACE FUNCTION {v}.missing(p_what text) RETURNS void
LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'WLN01', MESSAGE = p_what; END $$;

CREATE OR REPLACE FUNCTION {v}.not_allowed(p_message text) RETURNS void
LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'WLN02', MESSAGE = p_message; END $$;

-- A queue, locked and up to date; to be written back by `save_queue(q, o)` with what `read_queue` gave.
CREATE OR REPLACE FUNCTION {v}.take_queue(p_queue text, p_now bigint, OUT q windlass.queues, OUT o windlass.queues)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  t record;
BEGIN
  PERFORM {v}.lock(p_queue);
  o := {v}.read_queue(p_queue);
  q := o;
  -- All of it: whether the job runs, and where it stands, is known only then.
  LOOP
    t := {v}.account(q, p_now);
    q := t.q;
    EXIT WHEN NOT t.p_more;
  END LOOP;
END $$;

-- now: it is cancelled; asked: it runs, and its holder was told; final: it ended before.
CREATE OR REPLACE FUNCTION {v}.cancel(p_id uuid, p_reason text, p_op uuid, p_actor text, p_now bigint) RETURNS text
LANGUAGE plpgsql VOLATILE SET lock_timeout = '2s' AS $$
DECLARE
  v_now bigint := {v}.clock(p_now);
  v_first boolean := {v}.audited(p_op, p_actor, 'cancel', p_id::text, p_reason, v_now);
  v_queue text;
  v_epoch bigint;
  j windlass.jobs;
  w windlass.waiting;
  t record;
BEGIN
  LOOP
    v_queue := coalesce((SELECT queue FROM windlass.jobs WHERE id = p_id), (SELECT queue FROM windlass.waiting WHERE id = p_id));
    IF v_queue IS NULL THEN
      CASE {v}.state_of(p_id)
        WHEN 'cancelled' THEN
          RETURN CASE WHEN v_first THEN 'final' ELSE 'now' END;
        WHEN 'completed', 'dead' THEN
          RETURN 'final';
        ELSE
          IF {v}.state_of(p_id) IS NULL THEN
            PERFORM {v}.missing('job ' || p_id);
          END IF;
          CONTINUE;
      END CASE;
    END IF;
    t := {v}.take_queue(v_queue, v_now);
    SELECT * INTO j FROM windlass.jobs WHERE id = p_id FOR UPDATE;
    IF FOUND THEN
      SELECT epoch INTO v_epoch FROM windlass.claims c WHERE c.line = j.line AND j.seq = ANY (c.seqs);
      IF FOUND THEN
        INSERT INTO windlass.cancels VALUES (p_id, v_epoch, p_reason) ON CONFLICT (id) DO UPDATE SET epoch = excluded.epoch, reason = excluded.reason;
        PERFORM pg_notify('windlass', 'cancel');
        PERFORM {v}.save_queue(t.q, t.o);
        RETURN 'asked';
      END IF;
      t.q := {v}.leave_place(t.q, j, v_now);
      t.q := {v}.turn_ends(t.q, {v}.gate_key(j.tenant, j.concurrency_key), j.id, v_now);
      t.q := {v}.end_waiting(t.q, j, 2::smallint, 'cancelled', p_reason, v_now);
      PERFORM {v}.save_queue(t.q, t.o);
      PERFORM {v}.catch_up_told(v_now);
      PERFORM {v}.wake();
      RETURN 'now';
    END IF;
    DELETE FROM windlass.waiting WHERE id = p_id RETURNING * INTO w;
    IF FOUND THEN
      t.q := {v}.turn_ends(t.q, {v}.gate_key(w.tenant, w.concurrency_key), w.id, v_now);
      t.q := {v}.end_waiting(t.q, {v}.job_of(w), {v}.state_number(w.state), 'cancelled', p_reason, v_now);
      PERFORM {v}.save_queue(t.q, t.o);
      PERFORM {v}.catch_up_told(v_now);
      PERFORM {v}.wake();
      RETURN 'now';
    END IF;
    PERFORM {v}.save_queue(t.q, t.o);
  END LOOP;
END $$;

CREATE OR REPLACE FUNCTION {v}.run_now(p_id uuid, p_op uuid, p_actor text, p_now bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SET lock_timeout = '2s' AS $$
DECLARE
  v_now bigint := {v}.clock(p_now);
  v_queue text;
  v_state text;
  w windlass.waiting;
  t record;
BEGIN
  IF NOT {v}.audited(p_op, p_actor, 'run_now', p_id::text, NULL, v_now) THEN
    RETURN;
  END IF;
  v_state := {v}.state_of(p_id);
  IF v_state IS NULL THEN
    PERFORM {v}.missing('job ' || p_id);
  ELSIF v_state NOT IN ('scheduled', 'parked') THEN
    PERFORM {v}.not_allowed(format('job %s is %s; only a scheduled or parked job can be made due', p_id, v_state));
  END IF;
  SELECT queue INTO v_queue FROM windlass.waiting WHERE id = p_id;
  t := {v}.take_queue(v_queue, v_now);
  DELETE FROM windlass.waiting WHERE id = p_id RETURNING * INTO w;
  IF FOUND THEN
    DELETE FROM windlass.dependencies WHERE child = p_id;
    w.run_at := v_now;
    t.q := {v}.let_go(t.q, {v}.job_of(w), {v}.state_number(w.state), v_now);
  END IF;
  PERFORM {v}.save_queue(t.q, t.o);
  PERFORM {v}.wake();
END $$;

-- Wakes a parked job by its token; `p_answer` becomes its checkpoint's `answer`.
CREATE OR REPLACE FUNCTION {v}.answer(p_token text, p_answer text, p_op uuid, p_actor text, p_now bigint) RETURNS uuid
LANGUAGE plpgsql VOLATILE SET lock_timeout = '2s' AS $$
DECLARE
  v_now bigint := {v}.clock(p_now);
  w windlass.waiting;
  t record;
  u record;
BEGIN
  SELECT * INTO w FROM windlass.waiting WHERE token = p_token AND state = 'parked';
  IF FOUND THEN
    t := {v}.take_queue(w.queue, v_now);
    SELECT * INTO w FROM windlass.waiting WHERE token = p_token AND state = 'parked' FOR UPDATE;
  END IF;
  IF NOT FOUND THEN
    PERFORM {v}.missing('a job parked with this token');
  END IF;
  PERFORM {v}.audited(p_op, p_actor, 'unpark', w.id::text, NULL, v_now);
  IF p_answer IS NOT NULL THEN
    -- The checkpoint that the worker left, with the answer beside it, both as their text stands.
    UPDATE windlass.waiting SET checkpoint = {v}.with_answer(checkpoint, p_answer) WHERE id = w.id;
  END IF;
  u := {v}.unpark(t.q, w.id, v_now);
  PERFORM {v}.save_queue(u.p_queue, t.o);
  PERFORM {v}.wake();
  RETURN w.id;
END $$;

CREATE OR REPLACE FUNCTION {v}.with_answer(p_checkpoint text, p_answer text) RETURNS text
LANGUAGE sql STABLE AS $$
  SELECT CASE
    WHEN p_checkpoint IS NULL THEN '{"answer":' || p_answer || '}'
    WHEN json_typeof(p_checkpoint::json) = 'object' THEN
      (SELECT '{' || string_agg(to_json(m.key)::text || ':' || m.value::text, ',' ORDER BY n) || '}' FROM (
        SELECT key, value, n FROM json_each(p_checkpoint::json) WITH ORDINALITY e (key, value, n) WHERE key <> 'answer'
        UNION ALL SELECT 'answer', p_answer::json, 9223372036854775807) m)
    ELSE '{"checkpoint":' || p_checkpoint || ',"answer":' || p_answer || '}' END
$$;

-- Wakes jobs parked as `unknown_kind` whose kind is now known, at most a thousand of each.
CREATE OR REPLACE FUNCTION {v}.unpark_kinds(p_kinds text[], p_now bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET lock_timeout = '2s' AS $$
DECLARE
  v_now bigint := {v}.clock(p_now);
  v_woken bigint := 0;
  r record;
  t record;
  v_id uuid;
BEGIN
  -- Queue by queue in a fixed order, each under its lock.
  FOR r IN
    SELECT f.queue, array_agg(f.id) AS ids FROM unnest(p_kinds) k
    CROSS JOIN LATERAL (SELECT queue, id FROM windlass.waiting WHERE kind = k AND reason = 'unknown_kind' LIMIT 1000) f GROUP BY 1 ORDER BY 1
  LOOP
    t := {v}.take_queue(r.queue, v_now);
    FOREACH v_id IN ARRAY r.ids LOOP
      IF EXISTS (SELECT FROM windlass.waiting WHERE id = v_id AND reason = 'unknown_kind') THEN
        t.q := ({v}.unpark(t.q, v_id, v_now)).p_queue;
        v_woken := v_woken + 1;
      END IF;
    END LOOP;
    PERFORM {v}.save_queue(t.q, t.o);
  END LOOP;
  IF v_woken > 0 THEN
    PERFORM {v}.wake();
  END IF;
  RETURN v_woken;
END $$;

CREATE OR REPLACE FUNCTION {v}.redrive(p_id uuid, p_op uuid, p_actor text, p_now bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SET lock_timeout = '2s' AS $$
DECLARE
  v_now bigint := {v}.clock(p_now);
  v_state text;
  d windlass.dead;
  j windlass.jobs;
  h windlass.uniques;
BEGIN
  IF NOT {v}.audited(p_op, p_actor, 'redrive', p_id::text, NULL, v_now) THEN
    RETURN;
  END IF;
  DELETE FROM windlass.dead WHERE id = p_id RETURNING * INTO d;
  IF NOT FOUND THEN
    v_state := {v}.state_of(p_id);
    IF v_state IS NULL THEN
      PERFORM {v}.missing('job ' || p_id);
    END IF;
    PERFORM {v}.not_allowed(format('job %s is %s; only a dead job can be redriven', p_id, v_state));
  END IF;
  SELECT {job d} INTO {job j};
  IF j.unique_key IS NOT NULL THEN
    -- A window that passed is not opened again; a key held until the start is free once the job starts again.
    INSERT INTO windlass.uniques AS u VALUES (coalesce(j.tenant, ''), j.queue, j.unique_key, j.id, CASE j.unique_for WHEN 'started' THEN 'started' ELSE 'finished' END, 0, true, 0)
    ON CONFLICT (tenant, queue, key) DO UPDATE SET id = excluded.id, live = true, held = CASE WHEN u.held = 'window' THEN u.held ELSE excluded.held END
      WHERE u.id = excluded.id OR NOT u.live AND (u.held <> 'window' OR u.until <= v_now);
    IF NOT FOUND THEN
      SELECT * INTO h FROM windlass.uniques WHERE tenant = coalesce(j.tenant, '') AND queue = j.queue AND key = j.unique_key;
      PERFORM {v}.refuse('WLC02', format('the unique key is held by job %s', h.id), 0, h.id);
    END IF;
  END IF;
  -- The attempts are counted anew; their records stay.
  j.seq := NULL;
  j.attempt := 0;
  j.deaths := 0;
  j.run_at := v_now;
  j.expires_at := NULL;
  j.pos := 0;
  PERFORM {v}.put_job(j, NULL, 0, v_now, 7::smallint);
  PERFORM {v}.wake();
END $$;

CREATE OR REPLACE FUNCTION {v}.purge(p_id uuid, p_op uuid, p_actor text, p_now bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SET lock_timeout = '2s' AS $$
DECLARE
  v_queue text;
  v_state text;
BEGIN
  IF NOT {v}.audited(p_op, p_actor, 'purge', p_id::text, NULL, {v}.clock(p_now)) THEN
    RETURN;
  END IF;
  DELETE FROM windlass.dead WHERE id = p_id RETURNING queue INTO v_queue;
  IF FOUND THEN
    PERFORM {v}.tell(v_queue, 'c', 7, NULL, NULL, NULL, NULL);
    RETURN;
  END IF;
  v_state := {v}.state_of(p_id);
  IF v_state IS NULL THEN
    PERFORM {v}.missing('job ' || p_id);
  END IF;
  PERFORM {v}.not_allowed(format('job %s is %s; only a dead job can be purged', p_id, v_state));
END $$;

CREATE OR REPLACE FUNCTION {v}.pause(p_queue text, p_reason text, p_until bigint, p_op uuid, p_actor text, p_now bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SET lock_timeout = '2s' AS $$
DECLARE
  v_now bigint := {v}.clock(p_now);
BEGIN
  IF {v}.audited(p_op, p_actor, 'pause', p_queue, p_reason, v_now) THEN
    INSERT INTO windlass.pauses VALUES (p_queue, v_now, p_actor, p_reason, p_until)
    ON CONFLICT (queue) DO UPDATE SET at = excluded.at, by = excluded.by, reason = excluded.reason, until = excluded.until;
  END IF;
END $$;

CREATE OR REPLACE FUNCTION {v}.resume(p_queue text, p_op uuid, p_actor text, p_now bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SET lock_timeout = '2s' AS $$
BEGIN
  IF {v}.audited(p_op, p_actor, 'resume', p_queue, NULL, {v}.clock(p_now)) THEN
    DELETE FROM windlass.pauses WHERE queue = p_queue;
    PERFORM {v}.wake();
  END IF;
END $$;

-- The settings in force, and the queues' rules that statements look at, if what is stored is still `p_before` (NULL: nothing); by the act `p_op`, if it
-- is one. Answers whether they were put. Caps and rates may have been raised: closed lines look again, and so do gates that hold somebody back.
CREATE OR REPLACE FUNCTION {v}.put_settings(p_before text, p_settings text, p_rules json, p_op uuid, p_actor text, p_action text, p_object text, p_detail text,
  p_now bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET lock_timeout = '2s' AS $$
BEGIN
  IF p_before IS NULL THEN
    INSERT INTO windlass.settings VALUES (true, '{}') ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
      RETURN false;
    END IF;
  ELSE
    -- Whoever changes them just now is waited for.
    PERFORM FROM windlass.settings FOR UPDATE;
    IF (SELECT settings FROM windlass.settings) IS DISTINCT FROM p_before THEN
      RETURN false;
    END IF;
  END IF;
  IF p_op IS NOT NULL AND NOT {v}.audited(p_op, p_actor, p_action, p_object, p_detail, p_now) THEN
    RETURN true;
  END IF;
  UPDATE windlass.settings SET settings = p_settings;
  DELETE FROM windlass.rules WHERE queue <> '';
  INSERT INTO windlass.rules SELECT * FROM json_populate_recordset(NULL::windlass.rules, p_rules);
  INSERT INTO windlass.events (queue, what, jobs, tenant) SELECT DISTINCT queue, 'o'::"char", 0, lane FROM windlass.lines WHERE closed;
  INSERT INTO windlass.events (queue, what, jobs, line) SELECT queue, 'g', 0, gate FROM windlass.gates WHERE EXISTS (SELECT FROM windlass.stands s WHERE s.gate = gates.gate AND s.what = 'g');
  PERFORM {v}.wake();
  RETURN true;
END $$;

-- A daemon of before, which knows of no limits that were changed, would take them back without a word.
DROP FUNCTION IF EXISTS {v}.configure(text, json, json, bigint);

-- The same for all that a daemon configures: also the kinds, and what producers have to know.
CREATE OR REPLACE FUNCTION {v}.configure(p_before text, p_settings text, p_rules json, p_kinds json, p_payload_bytes bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET lock_timeout = '2s' AS $$
BEGIN
  IF NOT {v}.put_settings(p_before, p_settings, p_rules, NULL, NULL, NULL, NULL, NULL, NULL) THEN
    RETURN false;
  END IF;
  DELETE FROM windlass.kinds WHERE kind <> '';
  INSERT INTO windlass.kinds SELECT * FROM json_populate_recordset(NULL::windlass.kinds, p_kinds);
  UPDATE windlass.installation SET payload_bytes = p_payload_bytes;
  PERFORM {v}.open_doors();
  RETURN true;
END $$;

-- What producers have to know is put together again.
CREATE OR REPLACE FUNCTION {v}.open_doors() RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  -- Whoever binds a role to a tenant, or does this, is waited for before anything is read.
  PERFORM FROM windlass.installation FOR UPDATE;
  DELETE FROM windlass.doors;
  INSERT INTO windlass.doors (kind, queue, priority, max_attempts, timeout_ms, payload_bytes, seed, unfair, bound, line)
  SELECT k.kind, k.queue, k.priority, k.max_attempts, k.timeout_ms, i.payload_bytes, i.seed, ARRAY(SELECT queue FROM windlass.rules WHERE NOT fair), i.bound,
    {v}.line_of(k.queue, k.priority, '')
  FROM windlass.kinds k CROSS JOIN windlass.installation i;
END $$;

-- A leased job that its holder cannot read goes out of everybody's way.
CREATE OR REPLACE FUNCTION {v}.quarantine(p_id uuid, p_reason text, p_now bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SET lock_timeout = '2s' AS $$
DECLARE
  j windlass.jobs;
BEGIN
  DELETE FROM windlass.jobs WHERE id = p_id RETURNING * INTO j;
  IF FOUND THEN
    PERFORM {v}.tell(j.queue, 'c', 3, NULL, NULL, NULL, NULL);
    PERFORM {v}.leave_gate(j, 'dead', true);
    PERFORM {v}.put_aside(j, p_reason, {v}.clock(p_now));
    PERFORM {v}.catch_up_told({v}.clock(p_now));
  END IF;
END $$;

-- Puts a row that was just taken out of `jobs` into the quarantine, and frees what hangs on it: its key, and those that wait
-- for it.
CREATE OR REPLACE FUNCTION {v}.put_aside(j windlass.jobs, p_reason text, p_now bigint) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  INSERT INTO windlass.quarantine (at, place, reason, data) VALUES (p_now, 'jobs', p_reason, left(j::text, 200000));
  DELETE FROM windlass.uniques WHERE tenant = coalesce(j.tenant, '') AND queue = j.queue AND key = j.unique_key AND id = j.id;
  PERFORM {v}.tell_children(j.id);
END $$;

-- Takes exported jobs in; those whose id exists are left as they are. Answers how many were new.
CREATE OR REPLACE FUNCTION {v}.import(p_jobs json[], p_now bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET lock_timeout = '2s' AS $$
DECLARE
  v_now bigint := {v}.clock(p_now);
  v_new bigint := 0;
  x json;
BEGIN
  PERFORM pg_current_xact_id();
  FOREACH x IN ARRAY p_jobs LOOP
    CONTINUE WHEN {v}.state_of((x ->> 'id')::uuid) IS NOT NULL;
    PERFORM {v}.import_one(x, v_now);
    v_new := v_new + 1;
  END LOOP;
  PERFORM {v}.wake();
  RETURN v_new;
END $$;

CREATE OR REPLACE FUNCTION {v}.import_one(x json, p_now bigint) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  j windlass.jobs;
  v_state text := x ->> 'state';
  v_parents uuid[];
BEGIN
  j := json_populate_record(NULL::windlass.jobs, x);
  j.payload := (x -> 'payload')::text;
  j.extra := nullif((x -> 'extra')::text, '{}');
  j.checkpoint := (x -> 'checkpoint')::text;
  j.fingerprint := decode(x ->> 'print', 'hex');
  j.pos := 0;
  IF j.unique_key IS NOT NULL AND x ->> 'held' IS NOT NULL AND v_state <> 'dead' THEN
    INSERT INTO windlass.uniques VALUES (coalesce(j.tenant, ''), j.queue, j.unique_key, j.id, x ->> 'held', (x ->> 'held_until')::bigint, true, p_now) ON CONFLICT DO NOTHING;
  END IF;
  CASE v_state
    WHEN 'dead' THEN
      j.seq := {v}.next_seq();
      j.line := 0;
      j.special := false;
      INSERT INTO windlass.dead ({job}, reason, started_at, finished_at) SELECT {job j}, coalesce(x ->> 'reason', 'imported'), (x ->> 'started_at')::bigint, coalesce((x ->> 'finished_at')::bigint, p_now);
      PERFORM {v}.tell(j.queue, 'c', NULL, 7, NULL, NULL, NULL);
    WHEN 'parked' THEN
      j.seq := {v}.next_seq();
      j.line := 0;
      j.special := false;
      INSERT INTO windlass.waiting ({job}, state, reason, park_until, token) SELECT {job j}, 'parked', x ->> 'reason', (x ->> 'park_until')::bigint, x ->> 'token';
      IF j.expires_at IS NOT NULL AND j.attempts IS NULL THEN
        INSERT INTO windlass.expiries VALUES (j.queue, j.expires_at, j.id);
      END IF;
      SELECT array_agg(a::uuid) INTO v_parents FROM json_array_elements_text(x -> 'waits_for') a;
      IF v_parents IS NOT NULL THEN
        INSERT INTO windlass.dependencies SELECT p, j.id FROM unnest(v_parents) p ON CONFLICT DO NOTHING;
      END IF;
      INSERT INTO windlass.events (queue, what, come, jobs, id, at) VALUES (j.queue, 'p', 4, 1, j.id, least((x ->> 'park_until')::bigint, j.expires_at));
    ELSE
      IF j.attempts IS NOT NULL THEN
        j.expires_at := NULL;
      END IF;
      IF v_state = 'queued' THEN
        j.run_at := least(j.run_at, p_now);
      END IF;
      PERFORM {v}.put_job(j, NULL, 0, p_now);
      IF j.attempts IS NOT NULL AND x ->> 'expires_at' IS NOT NULL THEN
        UPDATE windlass.jobs SET expires_at = (x ->> 'expires_at')::bigint WHERE id = j.id;
        UPDATE windlass.waiting SET expires_at = (x ->> 'expires_at')::bigint WHERE id = j.id;
      END IF;
  END CASE;
  -- Children that came before it stop reading it as missing; it may itself wait for one that ended before it came.
  PERFORM {v}.tell_children(j.id);
  IF v_state = 'parked' THEN
    PERFORM {v}.catch_up(j.queue, p_now);
  END IF;
  PERFORM {v}.catch_up_told(p_now);
END $$;

-- Jobs of a queue by state, with what was told but not yet taken in.
CREATE OR REPLACE FUNCTION {v}.counts(q windlass.queues, p_queue text) RETURNS bigint[]
LANGUAGE sql STABLE AS $$
  WITH told AS MATERIALIZED (SELECT gone, come, sum(jobs)::bigint AS jobs FROM {v}.told(q, p_queue) GROUP BY 1, 2)
  SELECT array_agg(coalesce(q.jobs[s], 0) + coalesce((SELECT sum(jobs) FROM told WHERE come = s), 0) - coalesce((SELECT sum(jobs) FROM told WHERE gone = s), 0) ORDER BY s)::bigint[]
  FROM generate_series(1, 7) s
$$;

-- When the oldest job at the head of a line became due; only the heads of lines are looked at.
CREATE OR REPLACE FUNCTION {v}.oldest(q windlass.queues, p_queue text) RETURNS bigint
LANGUAGE sql STABLE SET enable_bitmapscan = off AS $$
  WITH told AS MATERIALIZED (SELECT what, line, first, id FROM {v}.told(q, p_queue) WHERE what IN ('l', 's'))
  SELECT least((SELECT min((SELECT run_at FROM windlass.jobs j WHERE j.line = e.line AND j.seq = e.first AND NOT j.special)) FROM told e WHERE e.what = 'l'),
    (SELECT min((SELECT run_at FROM windlass.jobs j WHERE j.id = e.id)) FROM told e WHERE e.what = 's'),
    min(o.run_at))
  FROM windlass.lines l CROSS JOIN LATERAL (
    (SELECT j.run_at FROM windlass.jobs j WHERE j.line = l.line AND j.seq > l.cursor AND NOT j.special ORDER BY j.seq LIMIT 1)
    UNION ALL (SELECT j.run_at FROM (SELECT id FROM windlass.stands WHERE line = l.line AND what = 'h' ORDER BY pos LIMIT 1) s JOIN windlass.jobs j ON j.id = s.id)) o
  WHERE l.queue = p_queue AND l.waiting > 0
$$;

-- Every queue as people see it.
CREATE OR REPLACE FUNCTION {v}.queue_states() RETURNS TABLE (name text, jobs bigint[], paused_at bigint, paused_by text, pause_reason text, oldest bigint)
LANGUAGE plpgsql STABLE SET jit = off AS $$
BEGIN
  RETURN QUERY
    SELECT n.name, {v}.counts(q, n.name), p.at, p.by, p.reason, {v}.oldest(q, n.name)
    FROM (SELECT * FROM {v}.queue_names() UNION SELECT queue FROM windlass.pauses) n (name)
    LEFT JOIN LATERAL (SELECT * FROM windlass.queues q WHERE q.queue = n.name ORDER BY q.n DESC LIMIT 1) q ON true
    LEFT JOIN windlass.pauses p ON p.queue = n.name
    ORDER BY 1;
END $$;

-- The tenants with jobs in lines or running, by name after `p_after`; '' is no tenant, and stands for those of queues that are not fair.
-- What producers told of plain jobs and nobody took in yet is counted too.
CREATE OR REPLACE FUNCTION {v}.tenant_loads(p_after text, p_most bigint) RETURNS TABLE (lane text, waiting bigint, running bigint)
LANGUAGE sql STABLE SET jit = off AS $$
  WITH parts AS (
    SELECT l.lane, l.waiting, 0::bigint AS running FROM windlass.lines l WHERE l.waiting > 0
    UNION ALL
    SELECT coalesce((SELECT l.lane FROM windlass.lines l WHERE l.line = t.line ORDER BY l.n DESC LIMIT 1),
        CASE WHEN ({v}.rules(n.name)).fair
          THEN (SELECT j.tenant FROM windlass.jobs j WHERE j.line = t.line AND j.seq = t.first AND NOT j.special) END, ''), t.jobs::bigint, 0
    FROM {v}.queue_names() n (name)
    LEFT JOIN LATERAL (SELECT * FROM windlass.queues q WHERE q.queue = n.name ORDER BY q.n DESC LIMIT 1) q ON true
    CROSS JOIN LATERAL {v}.told(q, n.name) t WHERE t.what = 'l'
    UNION ALL
    SELECT (SELECT l.lane FROM windlass.lines l WHERE l.line = c.line ORDER BY l.n DESC LIMIT 1), 0, 1
    FROM windlass.claims c CROSS JOIN LATERAL unnest(c.seqs) WITH ORDINALITY s (seq, ord)
    JOIN LATERAL (
      SELECT FROM windlass.jobs j WHERE c.ids IS NULL AND j.line = c.line AND j.seq = s.seq AND NOT j.special
      UNION ALL SELECT FROM windlass.jobs j WHERE c.ids IS NOT NULL AND j.id = c.ids[s.ord] AND j.seq = s.seq) j ON true)
  SELECT p.lane, sum(p.waiting)::bigint, sum(p.running)::bigint FROM parts p
  WHERE p.lane IS NOT NULL AND (p_after IS NULL OR p.lane > p_after COLLATE "C") GROUP BY p.lane ORDER BY p.lane COLLATE "C" LIMIT p_most
$$;

-- ------------------------------------------------------------------ schedules

-- Records a plan: its skipped run, a job for each of its other instants, and `last` moved to `p_through`, if generation and
-- last are as given.
CREATE OR REPLACE FUNCTION {v}.fire(p_name text, p_generation bigint, p_last bigint, p_through bigint, p_from bigint, p_skipped_through bigint, p_count bigint, p_reason text,
  p_jobs json[], p_prints bytea[], p_dues bigint[], p_now bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET plan_cache_mode = force_generic_plan SET jit = off SET lock_timeout = '2s' AS $$
DECLARE
  v_now bigint := {v}.clock(p_now);
  v_refused boolean;
  a record;
BEGIN
  PERFORM pg_current_xact_id();
  UPDATE windlass.schedules SET last = p_through WHERE name = p_name AND generation = p_generation AND last = p_last;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  IF p_from IS NOT NULL THEN
    INSERT INTO windlass.occurrences VALUES (p_name, p_generation, p_from, NULL, p_reason, p_skipped_through, p_count);
  END IF;
  FOR i IN 1 .. coalesce(array_length(p_jobs, 1), 0) LOOP
    BEGIN
      a := {v}.enqueue_one(p_jobs[i], p_prints[i], 0, NULL, v_now);
      v_refused := a.p_duplicate;
      IF a.p_state = 'parked' AND NOT a.p_duplicate THEN
        PERFORM {v}.wait_or_go(a.p_id, v_now);
      END IF;
    EXCEPTION WHEN SQLSTATE 'WLC02' THEN
      v_refused := true;
    END;
    INSERT INTO windlass.occurrences VALUES (p_name, p_generation, p_dues[i], CASE WHEN NOT v_refused THEN (p_jobs[i] ->> 'id')::uuid END,
      CASE WHEN v_refused THEN 'duplicate' END, p_dues[i], 1);
  END LOOP;
  PERFORM {v}.wake();
  RETURN true;
END $$;

-- Puts a schedule if its generation (0: there is none) is still the one that the caller saw. With the same rule it stays that. Answers
-- whether it was put.
CREATE OR REPLACE FUNCTION {v}.put_schedule(p_name text, p_schedule text, p_seen bigint, p_same_rule boolean, p_words text, p_op uuid, p_actor text, p_now bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET lock_timeout = '2s' AS $$
DECLARE
  v_now bigint := {v}.clock(p_now);
BEGIN
  -- Acts come one after the other, and the firing of an occurrence changes no generation.
  PERFORM FROM windlass.audit_head FOR UPDATE;
  IF coalesce((SELECT generation FROM windlass.schedules WHERE name = p_name), 0) <> p_seen THEN
    RETURN false;
  END IF;
  PERFORM {v}.audited(p_op, p_actor, 'put_schedule', p_name, p_words, v_now);
  IF p_same_rule THEN
    UPDATE windlass.schedules SET schedule = p_schedule WHERE name = p_name;
  ELSE
    -- Epochs only grow, so a schedule that is deleted and made again is never taken for its former self.
    INSERT INTO windlass.schedules VALUES (p_name, p_schedule, nextval('windlass.epochs'), v_now, false)
    ON CONFLICT (name) DO UPDATE SET schedule = excluded.schedule, generation = excluded.generation, last = excluded.last;
  END IF;
  RETURN true;
END $$;

-- Pauses or resumes a schedule, or deletes it where `p_paused` is NULL.
CREATE OR REPLACE FUNCTION {v}.change_schedule(p_name text, p_paused boolean, p_op uuid, p_actor text, p_now bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SET lock_timeout = '2s' AS $$
DECLARE
  v_action text := CASE WHEN p_paused IS NULL THEN 'delete_schedule' WHEN p_paused THEN 'pause_schedule' ELSE 'resume_schedule' END;
BEGIN
  IF NOT {v}.audited(p_op, p_actor, v_action, p_name, NULL, {v}.clock(p_now)) THEN
    RETURN;
  ELSIF p_paused IS NULL THEN
    DELETE FROM windlass.schedules WHERE name = p_name;
  ELSE
    UPDATE windlass.schedules SET paused = p_paused WHERE name = p_name;
  END IF;
  IF NOT FOUND THEN
    PERFORM {v}.missing('schedule ' || p_name);
  END IF;
END $$;

-- Keeps a token. Answers whether it is there now because of this call, or was because of this very act.
CREATE OR REPLACE FUNCTION {v}.put_token(p_id text, p_token text, p_ends_at bigint, p_words text, p_op uuid, p_actor text, p_now bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET lock_timeout = '2s' AS $$
BEGIN
  INSERT INTO windlass.tokens (id, token, ends_at) VALUES (p_id, p_token, p_ends_at) ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    RETURN EXISTS (SELECT FROM windlass.audit WHERE op_id = p_op);
  END IF;
  RETURN {v}.audited(p_op, p_actor, 'create_token', p_id, p_words, {v}.clock(p_now));
END $$;

CREATE OR REPLACE FUNCTION {v}.end_token(p_id text, p_at bigint, p_words text, p_op uuid, p_actor text, p_now bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SET lock_timeout = '2s' AS $$
BEGIN
  IF NOT {v}.audited(p_op, p_actor, 'end_token', p_id, p_words, {v}.clock(p_now)) THEN
    RETURN;
  END IF;
  UPDATE windlass.tokens SET told_at = CASE WHEN ends_at IS NULL OR p_at < ends_at THEN {v}.clock(p_now) ELSE told_at END, ends_at = least(p_at, ends_at)
  WHERE id = p_id;
  IF NOT FOUND THEN
    PERFORM {v}.missing('token ' || p_id);
  END IF;
END $$;

-- Changes a job that waits, or a dead letter; NULL is left as it is. The sentences are those of `job::Edit`.
CREATE OR REPLACE FUNCTION {v}.edit(p_id uuid, p_payload text, p_priority integer, p_run_at bigint, p_max_attempts integer, p_timeout_ms bigint, p_was text,
  p_words text, p_op uuid, p_actor text, p_now bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SET lock_timeout = '2s' AS $$
DECLARE
  v_now bigint := {v}.clock(p_now);
  v_moves boolean := p_priority IS NOT NULL OR p_run_at IS NOT NULL;
  v_queue text;
  v_state text;
  j windlass.jobs;
  q windlass.queues;
  t record;
BEGIN
  IF NOT {v}.audited(p_op, p_actor, 'edit', p_id::text, p_words, v_now) THEN
    RETURN;
  END IF;
  v_queue := coalesce((SELECT queue FROM windlass.jobs WHERE id = p_id), (SELECT queue FROM windlass.waiting WHERE id = p_id));
  IF v_queue IS NOT NULL THEN
    -- Nothing of the queue is leased from here on.
    t := {v}.take_queue(v_queue, v_now);
  END IF;
  v_state := {v}.state_of(p_id);
  IF v_state IS NULL THEN
    PERFORM {v}.missing('job ' || p_id);
  ELSIF v_state IN ('running', 'completed', 'cancelled') THEN
    PERFORM {v}.not_allowed(format('job %s is %s; only a job that waits, or a dead letter, can be edited', p_id, v_state));
  ELSIF v_state IN ('dead', 'parked') AND p_run_at IS NOT NULL THEN
    PERFORM {v}.not_allowed(format('job %s is %s; it has no time to be due at; leave run_at out', p_id, v_state));
  ELSIF p_was <> coalesce((SELECT payload FROM windlass.jobs WHERE id = p_id), (SELECT payload FROM windlass.waiting WHERE id = p_id),
      (SELECT payload FROM windlass.dead WHERE id = p_id)) THEN
    PERFORM {v}.not_allowed(format('the payload of job %s is another by now; read it again', p_id));
  END IF;
  CASE v_state
    WHEN 'dead' THEN
      UPDATE windlass.dead SET payload = coalesce(p_payload, payload), priority = coalesce(p_priority, priority), max_attempts = coalesce(p_max_attempts, max_attempts),
        timeout_ms = coalesce(p_timeout_ms, timeout_ms) WHERE id = p_id;
      RETURN;
    WHEN 'queued' THEN
      SELECT * INTO j FROM windlass.jobs WHERE id = p_id FOR UPDATE;
      IF v_moves AND j.ordered THEN
        PERFORM {v}.not_allowed(format('job %s is queued; an ordered job keeps its turn, so neither its priority nor its time can be changed', p_id));
      ELSIF v_moves AND EXISTS (SELECT FROM windlass.stands WHERE id = p_id AND what = 's') THEN
        PERFORM {v}.not_allowed(format('job %s is queued; it runs alone next, so neither its priority nor its time can be changed', p_id));
      ELSIF v_moves THEN
        t.q := {v}.leave_place(t.q, j, v_now);
        t.q := {v}.turn_ends(t.q, {v}.gate_key(j.tenant, j.concurrency_key), j.id, v_now);
        DELETE FROM windlass.expiries WHERE queue = j.queue AND expires_at = j.expires_at AND id = j.id;
        j.payload := coalesce(p_payload, j.payload);
        j.priority := coalesce(p_priority, j.priority);
        j.run_at := coalesce(p_run_at, j.run_at);
        j.max_attempts := coalesce(p_max_attempts, j.max_attempts);
        j.timeout_ms := coalesce(p_timeout_ms, j.timeout_ms);
        j.seq := NULL;
        j.pos := 0;
        PERFORM {v}.put_job(j, NULL, 0, v_now, 2::smallint);
      ELSE
        UPDATE windlass.jobs SET payload = coalesce(p_payload, payload), max_attempts = coalesce(p_max_attempts, max_attempts), timeout_ms = coalesce(p_timeout_ms, timeout_ms)
        WHERE id = p_id;
      END IF;
    ELSE
      UPDATE windlass.waiting SET payload = coalesce(p_payload, payload), priority = coalesce(p_priority, priority), run_at = coalesce(p_run_at, run_at),
        max_attempts = coalesce(p_max_attempts, max_attempts), timeout_ms = coalesce(p_timeout_ms, timeout_ms) WHERE id = p_id;
      q := t.q;
      q.due := least(q.due, p_run_at);
      t.q := q;
  END CASE;
  PERFORM {v}.save_queue(t.q, t.o);
  PERFORM {v}.wake();
END $$;
