-- What time brings: jobs become due, gates open, parks and patience end, holders die, the past is forgotten.

-- Moves what is due in one queue. `p_more`: a bound was reached.
CREATE OR REPLACE FUNCTION {v}.advance_queue(q windlass.queues, p_now bigint, OUT p_queue windlass.queues, OUT p_more boolean, OUT p_counts bigint[])
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  w windlass.waiting;
  e windlass.expiries;
  s windlass.stands;
  v_from bigint := q.due;
  v_n bigint := 0;
  v_due bigint := 0;
  v_admitted bigint;
  v_expired bigint := 0;
  v_parks bigint := 0;
  v_gates bigint := 0;
  v_state text;
  v_kind windlass.kinds;
  g record;
BEGIN
  p_queue := q;
  FOR s IN SELECT * FROM windlass.stands WHERE queue = q.queue AND what = 'b' LOOP
    UPDATE windlass.stands SET what = 'h' WHERE id = s.id;
    p_queue := {v}.line_waits(p_queue, {v}.line(s.line), 1, 1);
  END LOOP;
  v_admitted := (SELECT sum(n) FROM unnest(p_queue.lined) n);
  FOR g IN SELECT gate FROM windlass.gates WHERE queue = q.queue AND opens_at >= v_from AND opens_at <= p_now ORDER BY opens_at LIMIT 1000 LOOP
    v_gates := v_gates + 1;
    p_queue := {v}.refill(p_queue, g.gate, p_now);
  END LOOP;
  v_admitted := (SELECT sum(n) FROM unnest(p_queue.lined) n) - v_admitted;
  FOR w IN
    SELECT * FROM windlass.waiting WHERE queue = q.queue AND state = 'scheduled' AND run_at >= v_from AND run_at <= p_now ORDER BY run_at, seq LIMIT 1000 FOR UPDATE SKIP LOCKED
  LOOP
    v_due := v_due + 1;
    DELETE FROM windlass.waiting WHERE id = w.id;
    p_queue := {v}.let_go(p_queue, {v}.job_of(w), 1::smallint, p_now);
  END LOOP;
  FOR e IN
    DELETE FROM windlass.expiries WHERE ctid = ANY (ARRAY(
      SELECT ctid FROM windlass.expiries WHERE queue = q.queue AND expires_at >= v_from AND expires_at <= p_now ORDER BY expires_at LIMIT 1000)) RETURNING *
  LOOP
    v_n := v_n + 1;
    p_queue := {v}.expire(p_queue, e, p_now);
  END LOOP;
  FOR w IN
    SELECT * FROM windlass.waiting WHERE queue = q.queue AND state = 'parked' AND park_until >= v_from AND park_until <= p_now ORDER BY park_until, seq LIMIT 1000 FOR UPDATE SKIP LOCKED
  LOOP
    v_parks := v_parks + 1;
    DELETE FROM windlass.waiting WHERE id = w.id;
    p_queue := {v}.turn_ends(p_queue, {v}.gate_key(w.tenant, w.concurrency_key), w.id, p_now);
    p_queue := {v}.end_waiting(p_queue, {v}.job_of(w), 4::smallint, 'dead', 'park_expired', p_now);
  END LOOP;
  p_more := 1000 IN (v_due, v_n, v_parks, v_gates);
  p_counts := ARRAY[v_due, greatest(v_admitted, 0), p_queue.jobs[6] + p_queue.jobs[7] - q.jobs[6] - q.jobs[7] - v_parks, v_parks];
  -- The next instant: everything before was dealt with, so the looks begin behind the dead rows it left.
  IF NOT p_more THEN
    p_queue.due := {v}.next_due(q.queue, v_from, p_now);
  END IF;
END $$;

CREATE OR REPLACE FUNCTION {v}.next_due(p_queue text, p_from bigint, p_now bigint) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN (
    SELECT least(9223372036854775807,
      (SELECT run_at FROM windlass.waiting WHERE queue = p_queue AND state = 'scheduled' AND run_at >= p_from ORDER BY run_at LIMIT 1),
      (SELECT park_until FROM windlass.waiting WHERE queue = p_queue AND state = 'parked' AND park_until >= p_from ORDER BY park_until LIMIT 1),
      (SELECT expires_at FROM windlass.expiries WHERE queue = p_queue AND expires_at >= p_from ORDER BY expires_at LIMIT 1),
      (SELECT opens_at FROM windlass.gates WHERE queue = p_queue AND opens_at >= p_from ORDER BY opens_at LIMIT 1),
      (SELECT p_now + 20000 FROM windlass.stands WHERE queue = p_queue AND what = 'b' LIMIT 1)));
END $$;

-- The turn of an ordered job that waits in no line ends.
CREATE OR REPLACE FUNCTION {v}.turn_ends(q windlass.queues, p_key text, p_id uuid, p_now bigint) RETURNS windlass.queues
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  IF p_key IS NULL THEN
    RETURN q;
  END IF;
  RETURN {v}.turn_over(q, {v}.gate_of(q.queue, p_key), p_id, p_now);
END $$;

-- A job that nobody started in time, wherever it waits. One that runs, ran, or is gone stays as it is.
CREATE OR REPLACE FUNCTION {v}.expire(q windlass.queues, e windlass.expiries, p_now bigint) RETURNS windlass.queues
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  j windlass.jobs;
  w windlass.waiting;
  v_from smallint := 2;
BEGIN
  SELECT * INTO j FROM windlass.jobs WHERE id = e.id FOR UPDATE SKIP LOCKED;
  IF FOUND THEN
    IF j.attempts IS NOT NULL OR j.expires_at IS DISTINCT FROM e.expires_at OR {v}.is_running(j.line, j.seq, j.id) THEN
      RETURN q;
    END IF;
    q := {v}.leave_place(q, j, p_now);
  ELSE
    SELECT * INTO w FROM windlass.waiting WHERE id = e.id FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
      IF EXISTS (SELECT FROM windlass.jobs WHERE id = e.id) OR EXISTS (SELECT FROM windlass.waiting WHERE id = e.id) THEN
        -- Somebody is changing it: it is looked at again.
        INSERT INTO windlass.expiries VALUES (e.queue, p_now + 20000, e.id);
      END IF;
      RETURN q;
    ELSIF w.attempts IS NOT NULL OR w.expires_at > p_now THEN
      RETURN q;
    END IF;
    DELETE FROM windlass.waiting WHERE id = e.id;
    j := {v}.job_of(w);
    v_from := {v}.state_number(w.state);
    q := {v}.turn_ends(q, {v}.gate_key(j.tenant, j.concurrency_key), j.id, p_now);
  END IF;
  RETURN {v}.end_waiting(q, j, v_from, CASE WHEN ({v}.kind(j.kind)).dead_on_expire THEN 'dead' ELSE 'cancelled' END, 'expired', p_now);
END $$;

-- Takes a queued job that does not run out of its place, row and all.
CREATE OR REPLACE FUNCTION {v}.leave_place(q windlass.queues, j windlass.jobs, p_now bigint) RETURNS windlass.queues
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  DELETE FROM windlass.jobs WHERE id = j.id;
  IF EXISTS (SELECT FROM windlass.stands WHERE id = j.id) THEN
    RETURN {v}.displace(q, j.id, p_now);
  ELSIF NOT j.special THEN
    RETURN {v}.line_waits(q, {v}.line(j.line), -1, 0);
  END IF;
  RETURN q;
END $$;

-- Every queue that has something to do with time, at most some thousand rows each; queues that others work on are left to them.
CREATE OR REPLACE FUNCTION {v}.advance(p_now bigint, OUT p_counts bigint[], OUT p_more boolean, OUT p_due bigint)
LANGUAGE plpgsql VOLATILE SET plan_cache_mode = force_generic_plan SET jit = off SET lock_timeout = '2s' AS $$
DECLARE
  v_now bigint := {v}.clock(p_now);
  v_queue text;
  o windlass.queues;
  q windlass.queues;
  r record;
BEGIN
  p_counts := ARRAY[0, 0, 0, 0];
  p_more := false;
  FOR v_queue IN SELECT * FROM {v}.queue_names() LOOP
    CONTINUE WHEN NOT {v}.try_lock(v_queue);
    q := {v}.read_queue(v_queue);
    o := q;
    r := {v}.account(q, v_now);
    q := r.q;
    p_more := p_more OR r.p_more;
    IF q.due <= v_now THEN
      r := {v}.advance_queue(q, v_now);
      q := r.p_queue;
      p_more := p_more OR r.p_more;
      p_counts := ARRAY[p_counts[1] + r.p_counts[1], p_counts[2] + r.p_counts[2], p_counts[3] + r.p_counts[3], p_counts[4] + r.p_counts[4]];
    END IF;
    PERFORM {v}.save_queue(q, o);
    p_due := least(p_due, nullif(q.due, 9223372036854775807));
  END LOOP;
  PERFORM {v}.catch_up_told(v_now);
END $$;

-- Every queue that was ever read or told of. The newest version of each stands at the right of the others; and only between
-- the known ones are rows of events looked for, so that no dead ones are met.
CREATE OR REPLACE FUNCTION {v}.queue_names() RETURNS SETOF text
LANGUAGE sql STABLE AS $$
  WITH RECURSIVE
  known AS (
    (SELECT queue FROM windlass.queues ORDER BY queue DESC, n DESC LIMIT 1)
    UNION ALL SELECT (SELECT q.queue FROM windlass.queues q WHERE q.queue < k.queue ORDER BY q.queue DESC, q.n DESC LIMIT 1) FROM known k WHERE k.queue IS NOT NULL),
  gaps AS (
    SELECT '' AS low, coalesce(min(queue), '~') AS high FROM known
    UNION ALL SELECT queue, lead(queue, 1, '~') OVER (ORDER BY queue) FROM known WHERE queue IS NOT NULL),
  told AS (
    SELECT g.high, (SELECT e.queue FROM windlass.events e WHERE e.queue > g.low AND e.queue < g.high ORDER BY e.queue LIMIT 1) AS queue FROM gaps g
    UNION ALL SELECT t.high, (SELECT e.queue FROM windlass.events e WHERE e.queue > t.queue AND e.queue < t.high ORDER BY e.queue LIMIT 1) FROM told t WHERE t.queue IS NOT NULL)
  SELECT queue FROM known WHERE queue IS NOT NULL UNION SELECT queue FROM told WHERE queue IS NOT NULL ORDER BY 1
$$;

-- Takes back what holders hold whose time ran out. They may be paused or cut off, so nothing speaks against their jobs.
CREATE OR REPLACE FUNCTION {v}.reap(p_now bigint, p_dead uuid[], p_max_deaths integer, OUT p_requeued bigint, OUT p_suspects bigint, OUT p_poisoned bigint)
LANGUAGE plpgsql VOLATILE SET plan_cache_mode = force_generic_plan SET jit = off SET lock_timeout = '2s' SET enable_bitmapscan = off SET enable_seqscan = off AS $$
DECLARE
  v_now bigint := {v}.clock(p_now);
  v_left integer := 1000;
  v_asked text;
  v_died boolean;
  c windlass.claims;
  j windlass.jobs;
BEGIN
  p_requeued := 0;
  p_suspects := 0;
  p_poisoned := 0;
  FOR c IN
    -- By holder, and there is none most of the time: in the order of claims all those would be passed that ended and are not vacuumed.
    SELECT c.* FROM windlass.holders h CROSS JOIN LATERAL (
      SELECT * FROM windlass.claims WHERE holder = h.holder AND (until < v_now OR h.holder = ANY (p_dead)) ORDER BY epoch FOR UPDATE SKIP LOCKED) c
    WHERE h.until BETWEEN 0 AND v_now - 1 OR h.holder = ANY (p_dead)
  LOOP
    EXIT WHEN v_left <= 0;
    v_died := coalesce(c.holder = ANY (p_dead), false);
    DELETE FROM windlass.claims WHERE epoch = c.epoch;
    FOR j IN
      DELETE FROM windlass.jobs WHERE ctid = ANY (ARRAY(
        SELECT j.place FROM unnest(c.seqs, c.ids) s (seq, id) CROSS JOIN LATERAL (
          SELECT ctid AS place FROM windlass.jobs WHERE c.ids IS NULL AND line = c.line AND seq = s.seq AND NOT special
          UNION ALL SELECT ctid FROM windlass.jobs WHERE id = s.id AND seq = s.seq) j)) RETURNING *
    LOOP
      v_left := v_left - 1;
      j.attempts := {v}.with_record(j.attempts, json_build_object('number', j.attempt + 1, 'started_at', {v}.rfc3339(c.granted_at), 'ended_at', {v}.rfc3339(v_now),
        'holder', c.holder, 'outcome', 'lost'));
      IF v_died AND c.suspect THEN
        j.deaths := j.deaths + 1;
      END IF;
      DELETE FROM windlass.cancels WHERE id = j.id RETURNING reason INTO v_asked;
      IF v_asked IS NOT NULL THEN
        -- The request outlives the holder it was made to.
        INSERT INTO windlass.history ({past}, state, reason, finished_at) SELECT {past j}, 'cancelled', v_asked, v_now;
        INSERT INTO windlass.events (queue, what, gone, come, jobs) VALUES (j.queue, 'c', 3, 6, 1);
        PERFORM {v}.leave_gate(j, 'cancelled', true);
        PERFORM {v}.after_end(j, 'cancelled', v_now);
      ELSIF j.deaths >= p_max_deaths THEN
        INSERT INTO windlass.dead ({job}, reason, finished_at) SELECT {job j}, 'poison', v_now;
        INSERT INTO windlass.events (queue, what, gone, come, jobs) VALUES (j.queue, 'c', 3, 7, 1);
        PERFORM {v}.leave_gate(j, 'dead', true);
        PERFORM {v}.after_end(j, 'dead', v_now);
        p_poisoned := p_poisoned + 1;
      ELSE
        PERFORM {v}.give_back(j, CASE WHEN v_died THEN 'x' ELSE 'r' END::"char", v_now);
        p_requeued := p_requeued + 1;
        p_suspects := p_suspects + v_died::integer;
      END IF;
    END LOOP;
  END LOOP;
  -- One that holds nothing is forgotten in two steps, for its last lease call may be on its way: it is noted since when (below 0),
  -- and looked at again when any such call must have ended.
  UPDATE windlass.holders h SET until = 0 WHERE h.until < 0 AND h.until > 60000000 - v_now
    AND EXISTS (SELECT FROM windlass.claims c WHERE c.holder = h.holder OFFSET 0);
  DELETE FROM windlass.holders WHERE until < 0 AND until > 60000000 - v_now;
  UPDATE windlass.holders h SET until = -v_now WHERE h.until BETWEEN 0 AND v_now - 1
    AND NOT EXISTS (SELECT FROM windlass.claims c WHERE c.holder = h.holder OFFSET 0);
  PERFORM {v}.catch_up_told(v_now);
  IF p_requeued > 0 THEN
    PERFORM {v}.wake();
  END IF;
END $$;

-- The holders of a node are dead, since somebody else is there; but not the remote workers that leased through it, which are processes
-- of their own. `p_more`: there is more to take back.
CREATE OR REPLACE FUNCTION {v}.take_back(p_now bigint, p_node text, p_max_deaths integer, OUT p_requeued bigint, OUT p_suspects bigint, OUT p_poisoned bigint, OUT p_more boolean)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  v_dead uuid[] := ARRAY(SELECT h.holder FROM windlass.holders h WHERE h.node = p_node
    AND NOT EXISTS (SELECT FROM windlass.daemons d WHERE d.holder = h.holder AND (d.daemon::json ->> 'remote')::boolean));
  r record;
BEGIN
  r := {v}.reap(p_now, v_dead, p_max_deaths);
  p_requeued := r.p_requeued;
  p_suspects := r.p_suspects;
  p_poisoned := r.p_poisoned;
  p_more := EXISTS (SELECT FROM windlass.claims WHERE holder = ANY (v_dead));
  IF NOT p_more THEN
    UPDATE windlass.holders SET until = -{v}.clock(p_now), node = NULL WHERE holder = ANY (v_dead);
  END IF;
END $$;

-- Renews all leases of a holder, and tells which of those it names are lost, which are to be cancelled, and which it forgot.
-- Below the epoch `p_since` it knows of none that are not over but those it names.
CREATE OR REPLACE FUNCTION {v}.beat(p_holder uuid, p_lease_us bigint, p_epochs bigint[], p_ords integer[], p_ids uuid[], p_progress uuid[], p_progress_epochs bigint[], p_values text[], p_node text, p_now bigint, p_since bigint,
  OUT p_lost integer[], OUT p_cancel integer[], OUT p_strays json)
LANGUAGE plpgsql VOLATILE SET plan_cache_mode = force_generic_plan SET jit = off SET lock_timeout = '2s' SET enable_bitmapscan = off SET enable_seqscan = off AS $$
DECLARE
  v_now bigint := {v}.clock(p_now);
  v_since bigint := least(p_since, (SELECT min(epoch) FROM unnest(p_epochs) epoch));
BEGIN
  INSERT INTO windlass.holders VALUES (p_holder, v_now + p_lease_us, p_node) ON CONFLICT (holder) DO UPDATE SET until = excluded.until;
  INSERT INTO windlass.progress SELECT p.id, p.epoch, p.value FROM unnest(p_progress, p_progress_epochs, p_values) p (id, epoch, value)
  WHERE EXISTS (SELECT FROM windlass.claims c WHERE c.epoch = p.epoch AND c.holder = p_holder)
  ON CONFLICT (id) DO UPDATE SET epoch = excluded.epoch, value = excluded.value;
  WITH live AS MATERIALIZED (
    SELECT c.epoch, s.ord, j.id, c.nonce, c.granted_at FROM windlass.claims c CROSS JOIN LATERAL unnest(c.seqs) WITH ORDINALITY s (seq, ord)
    JOIN LATERAL (
      SELECT p.id FROM windlass.jobs p WHERE c.ids IS NULL AND p.line = c.line AND p.seq = s.seq AND NOT p.special
      UNION ALL SELECT p.id FROM windlass.jobs p WHERE c.ids IS NOT NULL AND p.id = c.ids[s.ord] AND p.seq = s.seq) j ON true
    WHERE c.holder = p_holder AND c.epoch >= v_since),
  held AS MATERIALIZED (SELECT * FROM unnest(p_epochs, p_ords, p_ids) WITH ORDINALITY h (epoch, ord, id, n))
  SELECT (SELECT array_agg(h.n) FROM held h LEFT JOIN live l ON l.epoch = h.epoch AND l.ord = h.ord AND l.id = h.id WHERE l.id IS NULL),
    (SELECT array_agg(h.n) FROM held h JOIN live l ON l.epoch = h.epoch AND l.ord = h.ord AND l.id = h.id JOIN windlass.cancels x ON x.id = l.id AND x.epoch = l.epoch),
    (SELECT json_agg(f) FROM (SELECT l.* FROM live l LEFT JOIN held h ON h.epoch = l.epoch AND h.ord = l.ord WHERE h.n IS NULL ORDER BY l.epoch, l.ord LIMIT 100) f)
  INTO p_lost, p_cancel, p_strays;
  -- Claims of which nothing runs any more; those granted a moment ago are left alone.
  DELETE FROM windlass.claims c WHERE c.holder = p_holder AND c.epoch >= v_since AND NOT EXISTS (
    SELECT FROM windlass.jobs j WHERE j.id = ANY (c.ids)) AND NOT EXISTS (
    SELECT FROM unnest(c.seqs) s (seq) CROSS JOIN LATERAL (
      SELECT FROM windlass.jobs WHERE c.ids IS NULL AND line = c.line AND seq = s.seq AND NOT special OFFSET 0) j);
END $$;

-- Partitions of history cover an hour each where jobs are kept two days at most, and a day each otherwise; so a job is kept
-- that much longer at most.
CREATE OR REPLACE FUNCTION {v}.partition_us(p_kept bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT CASE WHEN p_kept <= 172800000000 THEN 3600000000 ELSE 86400000000 END $$;

-- Makes the present partition of history and the next two, where they are missing. What ends before there is one goes to the
-- rest, and so does all of a time that has begun there.
CREATE OR REPLACE FUNCTION {v}.make_partitions(p_kept bigint, p_now bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
  v_width bigint := {v}.partition_us(p_kept);
  v_from bigint;
  v_name text;
BEGIN
  FOR i IN 0 .. 2 LOOP
    v_from := (p_now / v_width + i) * v_width;
    v_name := 'history_' || to_char(to_timestamp(v_from / 1000000) AT TIME ZONE 'UTC', CASE v_width WHEN 3600000000 THEN 'YYYYMMDDHH24' ELSE 'YYYYMMDD' END);
    CONTINUE WHEN to_regclass('windlass.' || v_name) IS NOT NULL;
    BEGIN
      -- Attached when it is whole, so that nobody waits for more than a moment.
      EXECUTE format('CREATE TABLE windlass.%I (LIKE windlass.history INCLUDING ALL)', v_name);
      EXECUTE format('ALTER TABLE windlass.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', v_name);
      EXECUTE format('CREATE POLICY ours ON windlass.%I TO windlass_owner USING (true) WITH CHECK (true)', v_name);
      EXECUTE format('ALTER TABLE windlass.history ATTACH PARTITION windlass.%I FOR VALUES FROM (%s) TO (%s)', v_name, v_from, v_from + v_width);
    EXCEPTION WHEN check_violation OR lock_not_available OR duplicate_table OR invalid_object_definition THEN
      NULL;
    END;
  END LOOP;
END $$;

-- What time does to the partitions of history; a statement of its own, for others wait for its locks.
CREATE OR REPLACE FUNCTION {v}.turn_partitions(p_kept bigint, p_now bigint, OUT p_jobs bigint, OUT p_more boolean)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  v_now bigint := {v}.clock(p_now);
BEGIN
  PERFORM {v}.make_partitions(p_kept, v_now);
  SELECT d.p_jobs, d.p_more INTO p_jobs, p_more FROM {v}.drop_partition(v_now - p_kept) d;
END $$;

-- Drops the oldest partition of history that ended before `p_before`; first its jobs are counted, some megabytes a call.
CREATE OR REPLACE FUNCTION {v}.drop_partition(p_before bigint, OUT p_jobs bigint, OUT p_more boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
  v_old text[];
  v_name text;
  v_block bigint;
  v_blocks bigint;
BEGIN
  p_jobs := 0;
  p_more := false;
  SELECT array_agg(p.name ORDER BY p.name) INTO v_old FROM (
    SELECT c.relname::text AS name, (extract(epoch FROM make_timestamp(substr(c.relname, 9, 4)::integer, substr(c.relname, 13, 2)::integer, substr(c.relname, 15, 2)::integer,
        (substr(c.relname, 17, 2) || '0')::integer / 10, 0, 0)) * 1000000)::bigint + CASE length(c.relname) WHEN 18 THEN 3600000000 ELSE 86400000000 END AS until
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'windlass.history'::regclass AND c.relname ~ '^history_[0-9]{8}([0-9]{2})?$') p
  WHERE p.until <= p_before;
  IF v_old IS NULL THEN
    RETURN;
  END IF;
  v_name := v_old[1];
  p_more := true;
  SELECT coalesce(max(block), 0) INTO v_block FROM windlass.leaving WHERE partition = v_name;
  v_blocks := pg_relation_size(format('windlass.%I', v_name)::regclass) / current_setting('block_size')::bigint;
  IF v_block < v_blocks THEN
    EXECUTE format('INSERT INTO windlass.leaving SELECT %L, queue, state, count(*), 0 FROM windlass.%I WHERE ctid >= %L::tid AND ctid < %L::tid GROUP BY queue, state
      ON CONFLICT (partition, queue, state) DO UPDATE SET jobs = leaving.jobs + excluded.jobs', v_name, v_name, format('(%s,0)', v_block), format('(%s,0)', v_block + 1000));
    INSERT INTO windlass.leaving VALUES (v_name, '', '', 0, v_block + 1000) ON CONFLICT (partition, queue, state) DO UPDATE SET block = excluded.block;
    RETURN;
  END IF;
  BEGIN
    EXECUTE format('DROP TABLE windlass.%I', v_name);
  EXCEPTION WHEN lock_not_available THEN
    p_more := false;
    RETURN;
  END;
  INSERT INTO windlass.events (queue, what, gone, jobs) SELECT queue, 'c', {v}.state_number(state), jobs FROM windlass.leaving WHERE partition = v_name AND queue <> '';
  SELECT coalesce(sum(jobs), 0) INTO p_jobs FROM windlass.leaving WHERE partition = v_name;
  DELETE FROM windlass.leaving WHERE partition = v_name;
  p_more := cardinality(v_old) > 1;
END $$;

-- Forgets final jobs past their retention, and what only mattered for a time; at most `p_limit` of each sort.
CREATE OR REPLACE FUNCTION {v}.prune(p_finished bigint, p_dead bigint, p_audit bigint, p_tokens bigint, p_limit integer, p_now bigint, OUT p_jobs bigint, OUT p_more boolean)
LANGUAGE plpgsql VOLATILE SET plan_cache_mode = force_generic_plan SET jit = off SET lock_timeout = '2s' AS $$
DECLARE
  v_now bigint := {v}.clock(p_now);
  v_n bigint;
BEGIN
  p_jobs := 0;
  p_more := false;
  -- What ended while there was no partition for it.
  WITH gone AS (
    DELETE FROM windlass.history WHERE tableoid = 'windlass.history_rest'::regclass AND ctid IN (
      SELECT ctid FROM windlass.history_rest WHERE finished_at < v_now - p_finished ORDER BY finished_at LIMIT p_limit) RETURNING queue, state),
  told AS (INSERT INTO windlass.events (queue, what, gone, jobs) SELECT queue, 'c', {v}.state_number(state), count(*) FROM gone GROUP BY queue, state)
  SELECT count(*) INTO v_n FROM gone;
  p_jobs := p_jobs + v_n;
  p_more := p_more OR v_n = p_limit;
  IF p_dead IS NOT NULL THEN
    WITH gone AS (
      DELETE FROM windlass.dead WHERE ctid IN (SELECT ctid FROM windlass.dead WHERE finished_at < v_now - p_dead ORDER BY finished_at LIMIT p_limit) RETURNING queue),
    told AS (INSERT INTO windlass.events (queue, what, gone, jobs) SELECT queue, 'c', 7, count(*) FROM gone GROUP BY queue)
    SELECT count(*) INTO v_n FROM gone;
    p_jobs := p_jobs + v_n;
    p_more := p_more OR v_n = p_limit;
  END IF;
  DELETE FROM windlass.idempotency WHERE ctid IN (SELECT ctid FROM windlass.idempotency WHERE until <= v_now LIMIT p_limit FOR UPDATE SKIP LOCKED);
  GET DIAGNOSTICS v_n = ROW_COUNT;
  p_more := p_more OR v_n = p_limit;
  DELETE FROM windlass.uniques WHERE ctid IN (SELECT ctid FROM windlass.uniques WHERE NOT live AND until <= v_now LIMIT p_limit FOR UPDATE SKIP LOCKED);
  GET DIAGNOSTICS v_n = ROW_COUNT;
  p_more := p_more OR v_n = p_limit;
  DELETE FROM windlass.cache WHERE ctid IN (SELECT ctid FROM windlass.cache WHERE until <= v_now LIMIT p_limit FOR UPDATE SKIP LOCKED);
  GET DIAGNOSTICS v_n = ROW_COUNT;
  p_more := p_more OR v_n = p_limit;
  -- A schedule goes by its last instant; what became of the earlier ones is for people.
  DELETE FROM windlass.occurrences WHERE ctid IN (SELECT ctid FROM windlass.occurrences WHERE due < v_now - p_finished ORDER BY due LIMIT p_limit);
  GET DIAGNOSTICS v_n = ROW_COUNT;
  p_more := p_more OR v_n = p_limit;
  IF p_audit IS NOT NULL THEN
    -- Rows stand in the order in which they came, so the first that is too young ends the walk. The newest stays: it proves that none behind
    -- it is gone.
    DELETE FROM windlass.audit WHERE seq IN (SELECT seq FROM (SELECT seq, at FROM windlass.audit ORDER BY seq LIMIT p_limit) old WHERE at < v_now - p_audit)
      AND seq < (SELECT seq FROM windlass.audit_head);
    GET DIAGNOSTICS v_n = ROW_COUNT;
    p_more := p_more OR v_n = p_limit;
  END IF;
  -- One stays when all have ended: once there was a token, everybody needs one.
  DELETE FROM windlass.tokens WHERE id IN (SELECT id FROM windlass.tokens WHERE ends_at IS NOT NULL AND greatest(ends_at, told_at) <= v_now - p_tokens LIMIT p_limit)
    AND id <> (SELECT id FROM windlass.tokens ORDER BY ends_at DESC NULLS FIRST, id LIMIT 1);
  GET DIAGNOSTICS v_n = ROW_COUNT;
  p_more := p_more OR v_n = p_limit;
  PERFORM {v}.prune_gates(p_limit, v_now);
  DELETE FROM windlass.progress p WHERE NOT EXISTS (SELECT FROM windlass.claims c WHERE c.epoch = p.epoch);
  DELETE FROM windlass.cancels x WHERE NOT EXISTS (SELECT FROM windlass.claims c WHERE c.epoch = x.epoch);
END $$;

-- Gates of keys that nobody uses any more, some from another one on at each instant.
CREATE OR REPLACE FUNCTION {v}.prune_gates(p_limit integer, p_now bigint) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  v_from bigint;
  v_queue text;
BEGIN
  SELECT min(gate) - p_limit + p_now % (max(gate) - min(gate) + p_limit + 1) INTO v_from FROM windlass.gates;
  FOR v_queue IN SELECT DISTINCT g.queue FROM (SELECT queue FROM windlass.gates WHERE gate >= v_from ORDER BY gate LIMIT p_limit) g LOOP
    -- A gate belongs to whoever holds its queue, and what is told but not taken in may name it.
    PERFORM {v}.catch_up(v_queue, p_now);
    CONTINUE WHEN NOT {v}.try_lock(v_queue) OR EXISTS (SELECT FROM windlass.events WHERE queue = v_queue);
    DELETE FROM windlass.gates g USING (SELECT gate FROM windlass.gates WHERE gate >= v_from ORDER BY gate LIMIT p_limit) old
    WHERE g.gate = old.gate AND g.queue = v_queue AND g.tat <= p_now AND g.head IS NULL AND g.opens_at IS NULL
      AND NOT EXISTS (SELECT FROM windlass.stands s WHERE s.gate = g.gate AND s.what = 'g') AND NOT EXISTS (SELECT FROM windlass.stands s WHERE s.gate = g.gate AND s.what = 'h')
      AND NOT EXISTS (SELECT FROM windlass.stands s WHERE s.queue = g.queue AND s.gate = g.gate AND s.what IN ('s', 'b'))
      AND NOT EXISTS (SELECT FROM windlass.gate_leases l WHERE l.gate = g.gate);
  END LOOP;
END $$;

-- What this session's first jobs would have to plan is planned: two are enqueued, leased and completed, and none of it stays.
CREATE OR REPLACE FUNCTION {v}.warm() RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  v_queue text := 'warm:' || gen_random_uuid();
  v_nonce uuid := gen_random_uuid();
  v_id uuid;
  r record;
BEGIN
  -- The first makes its line, the second comes alone.
  FOR i IN 1 .. 2 LOOP
    v_id := {v}.mint({v}.clock(NULL));
    PERFORM {v}.enqueue_alike(ARRAY[v_id], ARRAY['null'], 'warm', v_queue, NULL, NULL, NULL, NULL, v_id, v_id, NULL);
    -- Twice, for the second call finds nothing.
    FOR n IN 1 .. 2 LOOP
      SELECT * INTO r FROM {v}.lease(v_nonce, v_nonce, ARRAY[v_queue], ARRAY[1], ARRAY['warm'], 1000, 1000000, NULL, NULL) WHERE id IS NOT NULL;
      IF FOUND THEN
        PERFORM {v}.complete(ARRAY[r.epoch], ARRAY[v_nonce], ARRAY[1], ARRAY[1], ARRAY[r.ord], ARRAY[r.id], ARRAY[r.granted_at], NULL, NULL);
        PERFORM {v}.drop_claims(ARRAY[r.epoch]);
      END IF;
    END LOOP;
  END LOOP;
  RAISE EXCEPTION USING ERRCODE = 'WLC00';
EXCEPTION WHEN SQLSTATE 'WLC00' THEN
  NULL;
END $$;
