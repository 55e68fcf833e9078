-- A queue under its lock: reading it, taking in what others told, writing it back.

-- Class of our advisory locks.
CREATE OR REPLACE FUNCTION {v}.try_lock(p_queue text) RETURNS boolean
LANGUAGE sql VOLATILE AS $$ SELECT pg_try_advisory_xact_lock(1465206860, hashtext(p_queue)) $$;

CREATE OR REPLACE FUNCTION {v}.lock(p_queue text) RETURNS void
LANGUAGE sql VOLATILE AS $$ SELECT pg_advisory_xact_lock(1465206860, hashtext(p_queue)) $$;

-- The queue as it was left. The caller holds the lock.
CREATE OR REPLACE FUNCTION {v}.read_queue(p_queue text) RETURNS windlass.queues
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  q windlass.queues;
BEGIN
  SELECT * INTO q FROM windlass.queues WHERE queue = p_queue ORDER BY n DESC LIMIT 1;
  IF NOT FOUND THEN
    -- Everything that was ever told to it is still to be taken in.
    INSERT INTO windlass.queues VALUES (p_queue, 1, '1:1:', NULL, 9223372036854775807, 0,
      array_fill(0::bigint, ARRAY[7]), array_fill(0::bigint, ARRAY[10]), array_fill(0::bigint, ARRAY[10]))
    RETURNING * INTO q;
  END IF;
  RETURN q;
END $$;

-- Writes the queue back if it is not as it was; answers whether it did.
CREATE OR REPLACE FUNCTION {v}.save_queue(q windlass.queues, p_was windlass.queues) RETURNS boolean
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  IF q.seen::text = p_was.seen::text AND (q.due, q.tat, q.jobs, q.lined, q.clocks) IS NOT DISTINCT FROM (p_was.due, p_was.tat, p_was.jobs, p_was.lined, p_was.clocks) THEN
    RETURN false;
  END IF;
  UPDATE windlass.queues SET n = n + 1, seen = q.seen, own = pg_current_xact_id(), due = q.due, tat = q.tat, jobs = q.jobs, lined = q.lined, clocks = q.clocks
  WHERE queue = q.queue AND n = q.n;
  RETURN true;
END $$;

-- What is not taken in yet, of a queue that may have no row: other transactions than those that the last holder saw, and its own.
-- Each transaction by its number in the index, one after the other (the planner may look for a list of them by reading all that is
-- between): behind a transaction that lasts stand many that were taken in and are not vacuumed.
CREATE OR REPLACE FUNCTION {v}.told(q windlass.queues, p_queue text) RETURNS SETOF windlass.events
LANGUAGE sql STABLE SET enable_bitmapscan = off SET enable_seqscan = off AS $$
  SELECT * FROM windlass.events WHERE queue = p_queue AND xid >= coalesce(pg_snapshot_xmax(q.seen), '0')
  UNION ALL SELECT e.* FROM (SELECT pg_snapshot_xip(q.seen) UNION SELECT q.own) x (xid)
    CROSS JOIN LATERAL (SELECT * FROM windlass.events WHERE queue = p_queue AND xid = x.xid OFFSET 0) e
  WHERE x.xid < pg_snapshot_xmax(q.seen)
$$;

-- Takes in the events of all transactions that ended since the queue was last read, each exactly once: those that began
-- since (xid at or above the last snapshot's xmax), those that were running then and are not now, and the last holder's own.
-- `p_more`: a bound was reached, and the snapshot stays as it was; what was taken in is gone and does not come again.
-- No bitmap and no scan of the whole: they would go through all that is there, dead rows included, before the first is taken.
CREATE OR REPLACE FUNCTION {v}.account(INOUT q windlass.queues, p_now bigint, OUT p_more boolean)
LANGUAGE plpgsql VOLATILE SET enable_bitmapscan = off SET enable_seqscan = off AS $$
DECLARE
  v_events windlass.events[];
  v_seen pg_snapshot;
  v_plain boolean;
  e windlass.events;
  r record;
BEGIN
  -- One statement, so that rows and snapshot agree.
  IF q.seen::text LIKE '%:' THEN
    -- Nobody was under way then but the last holder: a quiet queue is looked at faster.
    WITH gone AS (
      DELETE FROM windlass.events WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM windlass.events WHERE queue = q.queue AND xid >= least(q.own, pg_snapshot_xmax(q.seen)) LIMIT 5000))
      RETURNING *)
    SELECT array_agg(g ORDER BY g.first, g.id), pg_current_snapshot(), bool_and(g.what IN ('l', 'c')) INTO v_events, v_seen, v_plain FROM gone g;
  ELSE
    WITH gone AS (
      DELETE FROM windlass.events WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM windlass.events WHERE queue = q.queue AND xid = q.own
        UNION (
          SELECT ctid FROM windlass.events WHERE queue = q.queue AND xid >= pg_snapshot_xmax(q.seen)
          UNION ALL SELECT e.ctid FROM pg_snapshot_xip(q.seen) x
            CROSS JOIN LATERAL (SELECT ctid FROM windlass.events WHERE queue = q.queue AND xid = x OFFSET 0) e
          WHERE pg_visible_in_snapshot(x, pg_current_snapshot()) LIMIT 5000)))
      RETURNING *)
    SELECT array_agg(g ORDER BY g.first, g.id), pg_current_snapshot(), bool_and(g.what IN ('l', 'c')) INTO v_events, v_seen, v_plain FROM gone g;
  END IF;
  -- Were the last of many taken for a part, the snapshot would stay, and every later look would pass them all again.
  p_more := false;
  IF cardinality(v_events) >= 5000 THEN
    p_more := EXISTS (SELECT FROM windlass.events WHERE queue = q.queue AND xid >= least(q.own, pg_snapshot_xmin(q.seen)));
  END IF;
  IF v_events IS NULL THEN
    RETURN;
  ELSIF NOT p_more THEN
    q.seen := v_seen;
  END IF;
  IF cardinality(v_events) = 1 THEN
    e := v_events[1];
    q := {v}.moved(q, e.gone, e.come, e.jobs);
    q.due := least(q.due, e.at);
    IF e.what = 'l' THEN
      q := {v}.take_line(q, v_events, e.line, e.jobs, e.first);
    END IF;
  ELSE
    FOR r IN SELECT t.gone, t.come, sum(t.jobs)::bigint AS jobs, min(t.at) AS at FROM unnest(v_events) t GROUP BY 1, 2 LOOP
      q := {v}.moved(q, r.gone, r.come, r.jobs);
      q.due := least(q.due, r.at);
    END LOOP;
    FOR r IN SELECT line, sum(jobs)::bigint AS jobs, min(first) AS first FROM unnest(v_events) WHERE what = 'l' GROUP BY 1 LOOP
      q := {v}.take_line(q, v_events, r.line, r.jobs, r.first);
    END LOOP;
  END IF;
  IF v_plain THEN
    RETURN;
  END IF;
  -- Turns that ended; then those that come back, all of them, before others: a gate must not give their turns away.
  UPDATE windlass.gates g SET head = NULL FROM unnest(v_events) t WHERE t.what = 'g' AND g.gate = t.line AND g.head = t.id;
  FOREACH e IN ARRAY v_events LOOP
    IF e.what IN ('r', 'x') THEN
      q := {v}.take_job(q, e.id, e.what, p_now);
    END IF;
  END LOOP;
  FOREACH e IN ARRAY v_events LOOP
    IF e.what IN ('s', 'z') THEN
      q := {v}.take_job(q, e.id, e.what, p_now);
    ELSIF e.what = 'o' THEN
      q := {v}.open_lines(q, e.tenant);
    END IF;
  END LOOP;
  FOREACH e IN ARRAY v_events LOOP
    IF e.what = 'p' THEN
      q := {v}.look_at_dependencies(q, e.id, p_now);
    END IF;
  END LOOP;
  -- Slots came free: the best of those behind the gates come in.
  FOR r IN SELECT DISTINCT t.line AS gate FROM unnest(v_events) t WHERE t.what IN ('g', 'r', 'x') AND t.line IS NOT NULL LOOP
    q := {v}.refill(q, r.gate, p_now);
  END LOOP;
END $$;

-- Takes in at once what waits to be told, if nobody else holds the queue; for the last word of a transaction that holds no lock.
CREATE OR REPLACE FUNCTION {v}.catch_up(p_queue text, p_now bigint) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  o windlass.queues;
BEGIN
  IF {v}.try_lock(p_queue) THEN
    o := {v}.read_queue(p_queue);
    PERFORM {v}.save_queue(({v}.account(o, p_now)).q, o);
  END IF;
END $$;

-- The same for every queue that this transaction has told of an ended parent.
CREATE OR REPLACE FUNCTION {v}.catch_up_told(p_now bigint) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  v_told text := current_setting('windlass.told', true);
  v_queue text;
BEGIN
  IF v_told <> '' THEN
    PERFORM set_config('windlass.told', '', true);
    FOR v_queue IN SELECT DISTINCT t FROM unnest(string_to_array(v_told, ' ')) t WHERE t <> '' ORDER BY 1 LOOP
      PERFORM {v}.catch_up(v_queue, p_now);
    END LOOP;
  END IF;
END $$;

CREATE OR REPLACE FUNCTION {v}.moved(q windlass.queues, p_gone smallint, p_come smallint, p_jobs bigint) RETURNS windlass.queues
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  IF p_gone IS NOT NULL THEN
    q.jobs[p_gone] := q.jobs[p_gone] - p_jobs;
  END IF;
  IF p_come IS NOT NULL THEN
    q.jobs[p_come] := q.jobs[p_come] + p_jobs;
  END IF;
  RETURN q;
END $$;

-- Plain jobs came into a line: it hears of it, and those that came below its cursor stand before it. A job that was
-- committed between the taking in and the reading of its line was leased before anybody heard of it: it is only counted.
CREATE OR REPLACE FUNCTION {v}.take_line(q windlass.queues, p_events windlass.events[], p_line bigint, p_jobs bigint, p_first bigint) RETURNS windlass.queues
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  l windlass.lines := {v}.line(p_line);
  v_late bigint := 0;
BEGIN
  IF l.line IS NULL THEN
    l := {v}.new_line(p_line, p_first);
  END IF;
  IF p_first <= l.cursor THEN
    INSERT INTO windlass.stands (id, what, queue, line, priority, pos, gate, ordered, behind, rank)
    SELECT j.id, 'h', j.queue, j.line, j.priority, j.pos, NULL, false, false, j.priority
    FROM unnest(p_events) e JOIN windlass.jobs j ON j.line = e.line AND j.seq BETWEEN e.first AND e.last AND NOT j.special
    WHERE e.what = 'l' AND e.line = p_line AND j.seq <= l.cursor AND NOT EXISTS (SELECT FROM windlass.claims c WHERE c.line = j.line AND j.seq = ANY (c.seqs));
    GET DIAGNOSTICS v_late = ROW_COUNT;
  END IF;
  RETURN {v}.line_waits(q, l, p_jobs, v_late);
END $$;
