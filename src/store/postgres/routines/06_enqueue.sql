-- Jobs come in. Nothing here waits for, or holds up, anybody but those who want the same unique key.

-- Plain and keyed jobs, as many as like: no unique or idempotency key, no dependency, an id between `p_low` and `p_high` that
-- the door minted. Error WLC03: an id was there before; ask again by enqueue_any.
-- Answers the instant that they were enqueued at: later ones are scheduled.
CREATE OR REPLACE FUNCTION {v}.enqueue_plain(
  p_ids uuid[], p_kinds text[], p_payloads text[], p_queues text[], p_tenants text[], p_priorities smallint[], p_run_at bigint[],
  p_delays bigint[], p_expires bigint[], p_timeouts bigint[], p_attempts integer[], p_keys text[], p_ordered boolean[], p_extras text[], p_low uuid, p_high uuid, p_now bigint
) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET plan_cache_mode = force_generic_plan SET jit = off SET lock_timeout = '2s' AS $$
DECLARE
  v_now bigint := {v}.clock(p_now);
BEGIN
  PERFORM {v}.refuse_known(p_ids, p_low, p_high);
  PERFORM {v}.put_plain(p_ids, p_kinds, p_payloads, p_queues, p_tenants, p_priorities, p_run_at, p_delays, p_expires, p_timeouts, p_attempts, p_keys, p_ordered, p_extras, v_now);
  RETURN v_now;
END $$;

CREATE OR REPLACE FUNCTION {v}.put_plain(
  p_ids uuid[], p_kinds text[], p_payloads text[], p_queues text[], p_tenants text[], p_priorities smallint[], p_run_at bigint[],
  p_delays bigint[], p_expires bigint[], p_timeouts bigint[], p_attempts integer[], p_keys text[], p_ordered boolean[], p_extras text[], p_now bigint
) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  v_jobs bigint := 0;
  v_put bigint;
  v_block bigint;
  v_count integer := array_length(p_ids, 1);
BEGIN
  -- The transaction has its number before the jobs have theirs.
  PERFORM pg_current_xact_id();
  FOR i IN 0 .. (v_count - 1) / 1024 LOOP
    v_block := nextval('windlass.numbers') << 10;
    WITH given AS (
      SELECT u.*, v_block + n - 1 AS seq
      FROM unnest(p_ids[i * 1024 + 1 : i * 1024 + 1024], p_kinds[i * 1024 + 1 : i * 1024 + 1024], p_payloads[i * 1024 + 1 : i * 1024 + 1024],
        p_queues[i * 1024 + 1 : i * 1024 + 1024], p_tenants[i * 1024 + 1 : i * 1024 + 1024], p_priorities[i * 1024 + 1 : i * 1024 + 1024],
        p_run_at[i * 1024 + 1 : i * 1024 + 1024], p_delays[i * 1024 + 1 : i * 1024 + 1024], p_expires[i * 1024 + 1 : i * 1024 + 1024],
        p_timeouts[i * 1024 + 1 : i * 1024 + 1024], p_attempts[i * 1024 + 1 : i * 1024 + 1024], p_keys[i * 1024 + 1 : i * 1024 + 1024],
        p_ordered[i * 1024 + 1 : i * 1024 + 1024], p_extras[i * 1024 + 1 : i * 1024 + 1024]) WITH ORDINALITY
        u (id, kind, payload, queue, tenant, priority, run_at, delay, expires_at, timeout_ms, max_attempts, key, ordered, extra, n)),
    kinds AS MATERIALIZED (SELECT g.name, ({v}.kind(g.name)).* FROM (SELECT DISTINCT kind AS name FROM given) g),
    full_given AS MATERIALIZED (
      SELECT g.seq, g.id, g.kind, g.payload, coalesce(g.queue, k.queue) AS queue, g.tenant, coalesce(g.priority, k.priority) AS priority,
        greatest(coalesce(g.run_at, {v}.plus_ms(p_now, coalesce(g.delay, 0))), p_now) AS run_at, g.expires_at, coalesce(g.timeout_ms, k.timeout_ms) AS timeout_ms,
        coalesce(g.max_attempts, k.max_attempts) AS max_attempts, g.key, coalesce(g.ordered, false) AS ordered, g.extra
      FROM given g JOIN kinds k ON k.name = g.kind),
    lines AS MATERIALIZED (
      SELECT d.queue, d.priority, d.tenant, {v}.line_of(d.queue, d.priority, CASE WHEN ({v}.rules(d.queue)).fair THEN coalesce(d.tenant, '') ELSE '' END) AS line
      FROM (SELECT DISTINCT queue, priority, tenant FROM full_given) d),
    ready AS MATERIALIZED (
      SELECT g.*, l.line FROM full_given g JOIN lines l ON l.queue = g.queue AND l.priority = g.priority AND l.tenant IS NOT DISTINCT FROM g.tenant),
    put AS (
      INSERT INTO windlass.jobs (seq, line, pos, created_at, run_at, expires_at, timeout_ms, attempt, max_attempts, priority, deaths, special, ordered, id, kind, queue, tenant, concurrency_key, payload, extra)
      SELECT seq, line, seq, p_now, run_at, expires_at, timeout_ms, 0, max_attempts, priority, 0, key IS NOT NULL, ordered, id, kind, queue, tenant, key, payload, extra
      FROM ready WHERE run_at <= p_now ORDER BY seq ON CONFLICT (id) DO NOTHING RETURNING id),
    wait AS (
      INSERT INTO windlass.waiting (seq, line, pos, created_at, run_at, expires_at, timeout_ms, attempt, max_attempts, priority, deaths, special, ordered, id, kind, queue, tenant, concurrency_key, payload, extra, state)
      SELECT seq, line, 0, p_now, run_at, expires_at, timeout_ms, 0, max_attempts, priority, 0, key IS NOT NULL, ordered, id, kind, queue, tenant, key, payload, extra, 'scheduled'
      FROM ready r WHERE run_at > p_now AND NOT EXISTS (SELECT FROM windlass.jobs j WHERE j.id = r.id) ORDER BY seq ON CONFLICT (id) DO NOTHING RETURNING id),
    expire AS (
      INSERT INTO windlass.expiries (queue, expires_at, id) SELECT queue, expires_at, id FROM ready WHERE expires_at IS NOT NULL),
    told AS (
      INSERT INTO windlass.events (queue, what, come, jobs, line, first, last, at, id)
      SELECT queue, 'l', 2::smallint, count(*), line, min(seq), max(seq), min(expires_at), NULL FROM ready WHERE run_at <= p_now AND key IS NULL GROUP BY queue, line
      UNION ALL SELECT queue, 's', 2, 1, NULL, seq, seq, expires_at, id FROM ready WHERE run_at <= p_now AND key IS NOT NULL
      UNION ALL SELECT queue, 'c', 1, count(*), NULL, NULL, NULL, least(min(run_at), min(expires_at)), NULL FROM ready WHERE run_at > p_now GROUP BY queue)
    SELECT (SELECT count(*) FROM put) + (SELECT count(*) FROM wait) INTO v_put;
    v_jobs := v_jobs + v_put;
  END LOOP;
  IF v_jobs <> v_count THEN
    RAISE EXCEPTION USING ERRCODE = 'WLC03', MESSAGE = 'a job of this id was there before';
  END IF;
  PERFORM {v}.wake();
END $$;

-- Plain jobs that differ in id and payload only.
CREATE OR REPLACE FUNCTION {v}.enqueue_alike(p_ids uuid[], p_payloads text[], p_kind text, p_queue text, p_tenant text, p_priority smallint, p_timeout_ms bigint, p_max_attempts integer, p_low uuid, p_high uuid, p_now bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET plan_cache_mode = force_generic_plan SET jit = off SET lock_timeout = '2s' AS $$
DECLARE
  v_now bigint := {v}.clock(p_now);
BEGIN
  PERFORM {v}.refuse_known(p_ids, p_low, p_high);
  PERFORM {v}.put_alike(p_ids, p_payloads, p_kind, p_queue, p_tenant, p_priority, p_timeout_ms, p_max_attempts, v_now);
  RETURN v_now;
END $$;

CREATE OR REPLACE FUNCTION {v}.put_alike(p_ids uuid[], p_payloads text[], p_kind text, p_queue text, p_tenant text, p_priority smallint, p_timeout_ms bigint, p_max_attempts integer, p_now bigint) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  v_count integer := cardinality(p_ids);
  k windlass.kinds := {v}.kind(p_kind);
  v_queue text := coalesce(p_queue, k.queue);
  v_priority smallint := coalesce(p_priority, k.priority);
  v_line bigint := {v}.line_of(v_queue, v_priority, CASE WHEN ({v}.rules(v_queue)).fair THEN coalesce(p_tenant, '') ELSE '' END);
  v_block bigint;
BEGIN
  PERFORM pg_current_xact_id();
  FOR i IN 0 .. (v_count - 1) / 1024 LOOP
    v_block := nextval('windlass.numbers') << 10;
    INSERT INTO windlass.jobs (seq, line, pos, created_at, run_at, timeout_ms, attempt, max_attempts, priority, deaths, special, ordered, id, kind, queue, tenant, payload)
    SELECT v_block + n - 1, v_line, v_block + n - 1, p_now, p_now, coalesce(p_timeout_ms, k.timeout_ms), 0, coalesce(p_max_attempts, k.max_attempts), v_priority, 0, false, false,
      p_ids[i * 1024 + n], p_kind, v_queue, p_tenant, payload
    FROM unnest(CASE WHEN v_count <= 1024 THEN p_payloads ELSE p_payloads[i * 1024 + 1 : i * 1024 + 1024] END) WITH ORDINALITY u (payload, n);
    INSERT INTO windlass.events (queue, what, come, jobs, line, first, last)
    VALUES (v_queue, 'l', 2, least(1024, v_count - i * 1024), v_line, v_block, v_block + least(1024, v_count - i * 1024) - 1);
  END LOOP;
  PERFORM {v}.wake();
END $$;

-- New ids are above all that is there but for what others bring or finish just now, so one look at the end of each index tells.
CREATE OR REPLACE FUNCTION {v}.refuse_known(p_ids uuid[], p_low uuid, p_high uuid) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  IF EXISTS (SELECT FROM windlass.history WHERE id BETWEEN p_low AND p_high) AND EXISTS (SELECT FROM windlass.history WHERE id = ANY (p_ids))
    OR EXISTS (SELECT FROM windlass.dead WHERE id BETWEEN p_low AND p_high) AND EXISTS (SELECT FROM windlass.dead WHERE id = ANY (p_ids))
    OR EXISTS (SELECT FROM windlass.waiting WHERE id BETWEEN p_low AND p_high) AND EXISTS (SELECT FROM windlass.waiting WHERE id = ANY (p_ids)) THEN
    RAISE EXCEPTION USING ERRCODE = 'WLC03', MESSAGE = 'a job of this id was there before';
  END IF;
END $$;

-- Any jobs, as the daemon writes them (`NewJob` in JSON, whose payloads keep their bytes), in one call: all or none. Unique
-- keys are taken in sorted order, so that two calls never wait for each other in a ring; jobs are answered as they were given.
CREATE OR REPLACE FUNCTION {v}.enqueue_any(p_jobs json[], p_prints bytea[], p_now bigint, OUT p_ids uuid[], OUT p_states text[], OUT p_duplicates boolean[])
LANGUAGE sql VOLATILE SET plan_cache_mode = force_generic_plan SET jit = off SET lock_timeout = '2s' AS $$
  SELECT * FROM {v}.enqueue_each(p_jobs, p_prints, {v}.clock(p_now))
$$;

CREATE OR REPLACE FUNCTION {v}.enqueue_each(p_jobs json[], p_prints bytea[], p_now bigint, OUT p_ids uuid[], OUT p_states text[], OUT p_duplicates boolean[])
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  -- Positions are those of the call, whatever the order in which keys are taken.
  v_blocks bigint[] := ARRAY(SELECT {v}.next_seq() FROM generate_series(0, (array_length(p_jobs, 1) - 1) / 1024));
  r record;
  a record;
BEGIN
  PERFORM pg_current_xact_id();
  FOR r IN
    SELECT n::integer FROM unnest(p_jobs) WITH ORDINALITY u (job, n)
    ORDER BY job ->> 'tenant' COLLATE "C", job -> 'unique' ->> 'key' COLLATE "C", n
  LOOP
    a := {v}.enqueue_one(p_jobs[r.n], p_prints[r.n], r.n - 1, v_blocks[(r.n - 1) / 1024 + 1] + (r.n - 1) % 1024, p_now);
    p_ids[r.n] := a.p_id;
    p_states[r.n] := a.p_state;
    p_duplicates[r.n] := a.p_duplicate;
  END LOOP;
  -- Dependencies last, so that a job may wait for one that stands behind it in the same call.
  FOR i IN 1 .. array_length(p_jobs, 1) LOOP
    IF p_states[i] = 'parked' AND NOT p_duplicates[i] AND json_array_length(p_jobs[i] -> 'extra' -> 'after') > 0 THEN
      p_states[i] := {v}.wait_or_go(p_ids[i], p_now);
    END IF;
  END LOOP;
  PERFORM {v}.wake();
END $$;

-- One job. Errors: WLC01 the id or idempotency key was used with another body, WLC02 the unique key is held; DETAIL is
-- {"index", "id"}.
CREATE OR REPLACE FUNCTION {v}.enqueue_one(p_job json, p_print bytea, p_index integer, p_seq bigint, p_now bigint, OUT p_id uuid, OUT p_state text, OUT p_duplicate boolean)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  j windlass.jobs;
  k windlass.kinds;
  r windlass.rules;
  v_mine boolean := (p_job ->> 'id_is_producers')::boolean;
  v_unique json := CASE WHEN json_typeof(p_job -> 'unique') = 'object' THEN p_job -> 'unique' END;
  v_idempotency text := p_job ->> 'idempotency_key';
  v_extra json := p_job -> 'extra';
  v_after uuid[];
  v_known record;
BEGIN
  p_id := (p_job ->> 'id')::uuid;
  p_duplicate := false;
  SELECT f.fingerprint AS print, true AS found INTO v_known FROM (
    SELECT fingerprint FROM windlass.jobs WHERE id = p_id
    UNION ALL SELECT fingerprint FROM windlass.waiting WHERE id = p_id
    UNION ALL SELECT fingerprint FROM windlass.dead WHERE id = p_id
    UNION ALL SELECT fingerprint FROM windlass.history WHERE id = p_id LIMIT 1) f;
  IF v_known.found THEN
    IF v_known.print IS NULL AND v_mine OR v_known.print IS DISTINCT FROM p_print AND v_known.print IS NOT NULL THEN
      PERFORM {v}.refuse('WLC01', format('job %s exists with another body; use a fresh id or idempotency key', p_id), p_index, p_id);
    END IF;
    p_state := {v}.state_of(p_id);
    IF p_state NOT IN ('scheduled', 'parked') THEN
      p_state := 'queued';
    END IF;
    RETURN;
  END IF;
  j.tenant := p_job ->> 'tenant';
  IF v_idempotency IS NOT NULL THEN
    SELECT id, fingerprint INTO v_known FROM windlass.idempotency WHERE tenant = coalesce(j.tenant, '') AND key = v_idempotency AND until > p_now;
    IF NOT FOUND THEN
      -- Whoever else is putting the same key now is waited for.
      INSERT INTO windlass.idempotency VALUES (coalesce(j.tenant, ''), v_idempotency, p_id, p_print, {v}.plus_ms(p_now, (p_job ->> 'idempotency_ms')::bigint))
      ON CONFLICT (tenant, key) DO UPDATE SET id = excluded.id, fingerprint = excluded.fingerprint, until = excluded.until WHERE idempotency.until <= p_now;
      IF NOT FOUND THEN
        SELECT id, fingerprint INTO v_known FROM windlass.idempotency WHERE tenant = coalesce(j.tenant, '') AND key = v_idempotency AND until > p_now;
      END IF;
    END IF;
    IF v_known.id IS NOT NULL THEN
      IF v_known.fingerprint IS DISTINCT FROM p_print THEN
        PERFORM {v}.refuse('WLC01', format('job %s exists with another body; use a fresh id or idempotency key', v_known.id), p_index, v_known.id);
      END IF;
      p_id := v_known.id;
      p_state := coalesce({v}.state_of(p_id), 'completed');
      p_duplicate := true;
      RETURN;
    END IF;
  END IF;
  j.id := p_id;
  j.seq := p_seq;
  j.kind := p_job ->> 'kind';
  k := {v}.kind(j.kind);
  j.queue := coalesce(p_job ->> 'queue', k.queue);
  r := {v}.rules(j.queue);
  j.priority := coalesce((p_job ->> 'priority')::smallint, k.priority);
  j.created_at := p_now;
  -- A time in the past is due now; the wait is measured from here, not from what the producer's clock thought.
  j.run_at := greatest(coalesce({v}.instant(p_job ->> 'run_at'), {v}.plus_ms(p_now, (p_job ->> 'delay_ms')::bigint)), p_now);
  j.expires_at := {v}.instant(p_job ->> 'expires_at');
  j.timeout_ms := coalesce((p_job ->> 'timeout_ms')::bigint, k.timeout_ms);
  j.attempt := 0;
  j.max_attempts := coalesce((p_job ->> 'max_attempts')::integer, k.max_attempts);
  j.deaths := 0;
  j.ordered := (p_job ->> 'ordered')::boolean;
  j.concurrency_key := p_job ->> 'concurrency_key';
  j.payload := (p_job -> 'payload')::text;
  j.extra := nullif(v_extra::text, '{}');
  IF v_mine THEN
    j.fingerprint := p_print;
  END IF;
  SELECT array_agg(a::uuid) INTO v_after FROM json_array_elements_text(CASE WHEN json_typeof(v_extra -> 'after') = 'array' THEN v_extra -> 'after' ELSE '[]' END) a;
  IF v_unique IS NOT NULL THEN
    j.unique_key := v_unique ->> 'key';
    j.unique_for := CASE v_unique ->> 'held' WHEN 'until_finished' THEN 'finished' WHEN 'until_started' THEN 'started' ELSE 'window' END;
    SELECT t.p_id, t.p_state INTO v_known FROM {v}.take_key(j, v_unique, v_after, p_index, k.park_for_ms, p_now) t;
    IF v_known.p_id IS NOT NULL THEN
      p_id := v_known.p_id;
      p_state := v_known.p_state;
      p_duplicate := true;
      IF v_idempotency IS NOT NULL THEN
        DELETE FROM windlass.idempotency WHERE tenant = coalesce(j.tenant, '') AND key = v_idempotency AND id = j.id;
      END IF;
      RETURN;
    END IF;
  END IF;
  p_state := {v}.put_job(j, v_after, k.park_for_ms, p_now);
END $$;

CREATE OR REPLACE FUNCTION {v}.refuse(p_code text, p_message text, p_index integer, p_id uuid) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = p_code, MESSAGE = p_message, DETAIL = json_build_object('index', p_index, 'id', p_id)::text;
END $$;

-- Writes a new job where it begins to wait, and tells the queue. A number and a position that are given are kept.
CREATE OR REPLACE FUNCTION {v}.put_job(j windlass.jobs, p_after uuid[], p_park_for_ms bigint, p_now bigint, p_gone smallint DEFAULT NULL) RETURNS text
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  j.seq := coalesce(j.seq, {v}.next_seq());
  j.line := {v}.line_of(j.queue, j.priority, CASE WHEN ({v}.rules(j.queue)).fair THEN coalesce(j.tenant, '') ELSE '' END);
  j.special := j.concurrency_key IS NOT NULL OR coalesce(j.unique_for = 'started', false);
  IF j.expires_at IS NOT NULL THEN
    INSERT INTO windlass.expiries VALUES (j.queue, j.expires_at, j.id);
  END IF;
  IF p_after IS NOT NULL THEN
    j.pos := 0;
    INSERT INTO windlass.waiting ({job}, state, reason, park_until)
    SELECT {job j}, 'parked', 'dependency', {v}.plus_ms(p_now, p_park_for_ms);
    INSERT INTO windlass.dependencies SELECT DISTINCT p, j.id FROM unnest(p_after) p;
    INSERT INTO windlass.events (queue, what, gone, come, jobs, id, at)
    VALUES (j.queue, 'p', p_gone, 4, 1, j.id, least({v}.plus_ms(p_now, p_park_for_ms), j.expires_at));
    RETURN 'parked';
  ELSIF j.run_at > p_now THEN
    j.pos := 0;
    INSERT INTO windlass.waiting ({job}, state) SELECT {job j}, 'scheduled';
    INSERT INTO windlass.events (queue, what, gone, come, jobs, at) VALUES (j.queue, 'c', p_gone, 1, 1, least(j.run_at, j.expires_at));
    RETURN 'scheduled';
  END IF;
  j.pos := coalesce(nullif(j.pos, 0), j.seq);
  INSERT INTO windlass.jobs ({job}) SELECT {job j};
  INSERT INTO windlass.events (queue, what, gone, come, jobs, line, first, last, at, id)
  VALUES (j.queue, CASE WHEN j.special THEN 's' ELSE 'l' END, p_gone, 2, 1, CASE WHEN NOT j.special THEN j.line END, j.seq, j.seq, j.expires_at, CASE WHEN j.special THEN j.id END);
  RETURN 'queued';
END $$;

-- A parked job that was just written, in the same transaction: if nothing holds it, it is queued at once. One that waits for no other was
-- there before, and is parked for another reason since.
CREATE OR REPLACE FUNCTION {v}.wait_or_go(p_id uuid, p_now bigint) RETURNS text
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  w windlass.waiting;
  v_reason text;
BEGIN
  SELECT * INTO w FROM windlass.waiting WHERE id = p_id AND state = 'parked';
  IF NOT FOUND THEN
    RETURN 'queued';
  ELSIF NOT EXISTS (SELECT FROM windlass.dependencies WHERE child = p_id) THEN
    RETURN 'parked';
  END IF;
  DELETE FROM windlass.dependencies d WHERE child = p_id AND {v}.parent_state(d.parent, w.tenant) = 'completed';
  SELECT CASE WHEN s.state IN ('dead', 'cancelled') THEN 'dependency_dead' WHEN s.state IS NULL THEN 'dependency_missing' ELSE 'dependency' END INTO v_reason
  FROM (SELECT {v}.parent_state(d.parent, w.tenant) AS state FROM windlass.dependencies d WHERE d.child = p_id) s
  ORDER BY s.state IN ('dead', 'cancelled') DESC NULLS LAST, s.state IS NULL LIMIT 1;
  IF FOUND THEN
    UPDATE windlass.waiting SET reason = v_reason WHERE id = p_id;
    RETURN 'parked';
  END IF;
  DELETE FROM windlass.waiting WHERE id = p_id;
  w.seq := NULL;
  RETURN {v}.put_job({v}.job_of(w), NULL, 0, p_now, 4::smallint);
END $$;

-- Takes the unique key for a job, or answers what the holder's presence means: `p_id` of the holder. NULL: the key is ours.
CREATE OR REPLACE FUNCTION {v}.take_key(j windlass.jobs, p_unique json, p_after uuid[], p_index integer, p_park_for_ms bigint, p_now bigint, OUT p_id uuid, OUT p_state text)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  h windlass.uniques;
  v_tenant text := coalesce(j.tenant, '');
  v_until bigint := CASE WHEN j.unique_for = 'window' THEN {v}.plus_ms(p_now, (extract(epoch FROM (p_unique ->> 'held')::interval) * 1000)::bigint) ELSE 0 END;
  v_on text := p_unique ->> 'on_duplicate';
  v_due bigint := j.run_at;
BEGIN
  LOOP
    INSERT INTO windlass.uniques VALUES (v_tenant, j.queue, j.unique_key, j.id, j.unique_for, v_until, true, p_now) ON CONFLICT DO NOTHING;
    IF FOUND THEN
      RETURN;
    END IF;
    SELECT * INTO h FROM windlass.uniques WHERE tenant = v_tenant AND queue = j.queue AND key = j.unique_key;
    CONTINUE WHEN NOT FOUND;
    IF NOT h.live AND (h.held <> 'window' OR h.until <= p_now) THEN
      UPDATE windlass.uniques SET id = j.id, held = j.unique_for, until = v_until, live = true, first_at = p_now
      WHERE tenant = v_tenant AND queue = j.queue AND key = j.unique_key AND id = h.id AND NOT live;
      CONTINUE WHEN NOT FOUND;
      RETURN;
    END IF;
    IF v_on = 'reject' THEN
      PERFORM {v}.refuse('WLC02', format('the unique key is held by job %s', h.id), p_index, h.id);
    END IF;
    IF v_on IN ('replace', 'debounce') AND h.live AND h.held = 'started' THEN
      -- Whoever starts the job frees its key first: with the key in hand, it has not started and will not.
      PERFORM FROM windlass.uniques WHERE tenant = v_tenant AND queue = j.queue AND key = j.unique_key AND id = h.id FOR UPDATE;
      CONTINUE WHEN NOT FOUND;
      IF v_on = 'debounce' THEN
        v_due := greatest(least(v_due, {v}.plus_ms(h.first_at, (p_unique ->> 'debounce_max_ms')::bigint)), p_now);
      END IF;
      p_state := {v}.swap(h.id, j, v_due, p_after, p_park_for_ms, p_now);
      IF p_state IS NOT NULL THEN
        p_id := h.id;
        RETURN;
      END IF;
    END IF;
    p_id := h.id;
    p_state := coalesce({v}.state_of(h.id), 'completed');
    RETURN;
  END LOOP;
END $$;

-- Gives a job that has not started another payload and other options; it keeps its id, and its position if it stays due.
CREATE OR REPLACE FUNCTION {v}.swap(p_id uuid, j windlass.jobs, p_due bigint, p_after uuid[], p_park_for_ms bigint, p_now bigint) RETURNS text
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  o windlass.jobs;
  w windlass.waiting;
  v_gone smallint;
  v_state text;
BEGIN
  DELETE FROM windlass.jobs WHERE id = p_id RETURNING * INTO o;
  IF FOUND THEN
    v_gone := 2;
    j.pos := o.pos;
  ELSE
    DELETE FROM windlass.waiting WHERE id = p_id RETURNING * INTO w;
    IF NOT FOUND THEN
      RETURN NULL;
    END IF;
    o := {v}.job_of(w);
    v_gone := {v}.state_number(w.state);
    j.pos := 0;
    DELETE FROM windlass.dependencies WHERE child = p_id;
  END IF;
  DELETE FROM windlass.expiries WHERE queue = o.queue AND expires_at = o.expires_at AND id = p_id;
  -- The key and how long it is held stay as they are, and so do the job's own past and its fingerprint.
  j.id := o.id;
  j.tenant := o.tenant;
  j.queue := o.queue;
  j.created_at := o.created_at;
  j.run_at := p_due;
  j.attempt := o.attempt;
  j.attempts := o.attempts;
  j.deaths := o.deaths;
  j.unique_key := o.unique_key;
  j.unique_for := o.unique_for;
  j.fingerprint := o.fingerprint;
  j.checkpoint := o.checkpoint;
  j.settled_epoch := o.settled_epoch;
  j.settled_nonce := o.settled_nonce;
  j.extra := {v}.with_children(j.extra, {v}.children(o.extra));
  IF v_gone = 2 THEN
    INSERT INTO windlass.events (queue, what, jobs, id) VALUES (o.queue, 'z', 1, p_id);
  END IF;
  v_state := {v}.put_job(j, p_after, p_park_for_ms, p_now, v_gone);
  IF p_after IS NOT NULL THEN
    RETURN {v}.wait_or_go(p_id, p_now);
  END IF;
  RETURN v_state;
END $$;

-- They answered nothing before, and what a function answers cannot be replaced.
DROP FUNCTION IF EXISTS {v}.follow(windlass.jobs, text, bigint), {v}.follow_up(json, uuid, text, boolean, bigint), {v}.finish(windlass.jobs, text, bigint);

-- `on_success` and `on_failure` of a job that ended; answers what stands for it.
CREATE OR REPLACE FUNCTION {v}.follow(j windlass.jobs, p_to text, p_now bigint) RETURNS uuid
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  v_next json := CASE p_to WHEN 'completed' THEN j.extra::json -> 'on_success' WHEN 'dead' THEN j.extra::json -> 'on_failure' END;
BEGIN
  IF json_typeof(v_next) = 'object' THEN
    RETURN {v}.follow_up(v_next, j.id, j.tenant, true, p_now);
  END IF;
  RETURN NULL;
END $$;

-- A job made by the end of another: it must not fail that end, so a held key means there is nothing to do. Answers what stands
-- for it: itself, or the job that its id or key belongs to.
CREATE OR REPLACE FUNCTION {v}.follow_up(p_job json, p_parent uuid, p_tenant text, p_fresh boolean, p_now bigint) RETURNS uuid
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  v_job jsonb := p_job::jsonb - 'payload' - 'extra';
  v_extra text := coalesce((p_job -> 'extra')::text, '{}');
  v_detail text;
  a record;
BEGIN
  v_job := v_job || jsonb_build_object('tenant', p_tenant);
  IF p_fresh AND NOT (v_job ->> 'id_is_producers')::boolean THEN
    -- A redriven job may end again, and its follow-up is another job then.
    v_job := v_job || jsonb_build_object('id', {v}.mint({v}.clock(NULL)));
  END IF;
  IF v_job -> 'unique' ->> 'on_duplicate' = 'reject' THEN
    v_job := jsonb_set(v_job, '{unique,on_duplicate}', '"return"');
  END IF;
  v_extra := '{"parent":"' || p_parent || '"' || CASE WHEN v_extra = '{}' THEN '}' ELSE ',' || substr(v_extra, 2) END;
  BEGIN
    -- Payload and extra as their text stands: nothing re-encodes them.
    a := {v}.enqueue_one((left(v_job::text, -1) || ',"payload":' || (p_job -> 'payload')::text || ',"extra":' || v_extra || '}')::json,
      substr(sha256(convert_to(p_job::text, 'UTF8')), 1, 16), 0, NULL, p_now);
    IF a.p_state = 'parked' AND NOT a.p_duplicate THEN
      PERFORM {v}.wait_or_go(a.p_id, p_now);
    END IF;
    RETURN a.p_id;
  EXCEPTION WHEN SQLSTATE 'WLC01' THEN
    GET STACKED DIAGNOSTICS v_detail = PG_EXCEPTION_DETAIL;
    RETURN v_detail::json ->> 'id';
  END;
END $$;

-- A UUIDv7 of this instant: behind the millisecond stand its 4,096th parts (RFC 9562, 6.2, method 3). Good until the year 2540.
CREATE OR REPLACE FUNCTION {v}.mint(p_now bigint) RETURNS uuid
LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
  SELECT overlay(lpad(to_hex(p_now * 512 / 125), 15, '0') || substr(gen_random_uuid()::text, 20) PLACING '7' FROM 13 FOR 0)::uuid
$$;

-- Many of one instant, in order: the random tail counts up in random steps (RFC 9562, 6.2, method 2).
CREATE OR REPLACE FUNCTION {v}.mint_many(p_count integer, p_now bigint) RETURNS uuid[]
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  v_head bytea := {v}.id_head(p_now);
  v_tail bigint := hashtextextended(gen_random_uuid()::text, 0) & 2305843009213693951 | (-9223372036854775808);
BEGIN
  RETURN (
    SELECT array_agg(encode(v_head || int8send(v_tail + (n::bigint << 32) + (random() * 4294967295)::bigint), 'hex')::uuid) FROM generate_series(1, p_count) n);
END $$;

CREATE OR REPLACE FUNCTION {v}.id_head(p_now bigint) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT int8send(p_now / 1000 << 16 | 28672 | (p_now % 1000 * 4096 / 1000))
$$;
