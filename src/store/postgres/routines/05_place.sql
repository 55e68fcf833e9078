-- A queued job gets a place, or leaves it; a job that waits ends. The caller holds the lock of the queue.

CREATE OR REPLACE FUNCTION {v}.line_of_job(j windlass.jobs) RETURNS windlass.lines
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  l windlass.lines := {v}.line(j.line);
BEGIN
  IF l.line IS NULL THEN
    l := {v}.make_line(j.queue, j.priority, CASE WHEN {v}.line_of(j.queue, j.priority, '') = j.line THEN '' ELSE j.tenant END);
  END IF;
  RETURN l;
END $$;

-- Puts a due special job into its line, or behind its gate. One that comes back stood before those that are in line now, so
-- they do not count as ahead of it.
CREATE OR REPLACE FUNCTION {v}.place(q windlass.queues, j windlass.jobs, p_returning boolean) RETURNS windlass.queues
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  l windlass.lines := {v}.line_of_job(j);
  v_gate bigint := {v}.gate_of(j.queue, {v}.gate_key(j.tenant, j.concurrency_key));
  a record;
BEGIN
  IF v_gate IS NOT NULL THEN
    a := {v}.admit(q, j, v_gate, p_returning);
    IF NOT a.p_admitted THEN
      -- Ordered jobs ignore priority among themselves: they stand by position alone.
      INSERT INTO windlass.stands VALUES (j.id, 'g', j.queue, j.line, j.priority, j.pos, v_gate, j.ordered, a.p_behind,
        CASE WHEN a.p_behind THEN 0 ELSE j.priority END);
      RETURN q;
    END IF;
  END IF;
  INSERT INTO windlass.stands VALUES (j.id, 'h', j.queue, j.line, j.priority, j.pos, v_gate, j.ordered, false, j.priority);
  RETURN {v}.line_waits(q, l, 1, 1);
END $$;

-- A special job was told of: it came (s), came back (r), came back as a suspect (x), or became another (z).
CREATE OR REPLACE FUNCTION {v}.take_job(q windlass.queues, p_id uuid, p_what "char", p_now bigint) RETURNS windlass.queues
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  j windlass.jobs;
BEGIN
  IF p_what = 'z' THEN
    q := {v}.displace(q, p_id, p_now);
  END IF;
  SELECT * INTO j FROM windlass.jobs WHERE id = p_id;
  IF NOT FOUND OR EXISTS (SELECT FROM windlass.stands WHERE id = p_id) THEN
    RETURN q;
  ELSIF p_what = 'x' THEN
    INSERT INTO windlass.stands VALUES (j.id, 's', j.queue, j.line, j.priority, j.pos, {v}.gate_of(j.queue, {v}.gate_key(j.tenant, j.concurrency_key)), j.ordered, false, j.priority);
    RETURN q;
  END IF;
  RETURN {v}.place(q, j, p_what = 'r');
END $$;

-- Takes a waiting job out of its stand, if it has one. An ordered job's turn ends with it.
CREATE OR REPLACE FUNCTION {v}.displace(q windlass.queues, p_id uuid, p_now bigint) RETURNS windlass.queues
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  s windlass.stands;
BEGIN
  DELETE FROM windlass.stands WHERE id = p_id RETURNING * INTO s;
  IF s.what = 'h' THEN
    q := {v}.line_waits(q, {v}.line(s.line), -1, -1);
  END IF;
  IF s.gate IS NOT NULL THEN
    q := {v}.turn_over(q, s.gate, p_id, p_now);
  END IF;
  RETURN q;
END $$;

-- A job no longer holds up those behind it.
CREATE OR REPLACE FUNCTION {v}.turn_over(q windlass.queues, p_gate bigint, p_id uuid, p_now bigint) RETURNS windlass.queues
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  UPDATE windlass.gates SET head = NULL WHERE gate = p_gate AND head = p_id;
  RETURN {v}.refill(q, p_gate, p_now);
END $$;

-- A job from `waiting` is due: it gets a position, unless it is ordered and has one, and its place.
CREATE OR REPLACE FUNCTION {v}.let_go(q windlass.queues, j windlass.jobs, p_from smallint, p_now bigint) RETURNS windlass.queues
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  v_fair boolean := ({v}.rules(j.queue)).fair;
  v_pos bigint := j.pos;
BEGIN
  j.seq := {v}.next_seq();
  IF NOT j.ordered OR v_pos = 0 THEN
    j.pos := j.seq;
  END IF;
  j.line := {v}.line_of(j.queue, j.priority, CASE WHEN v_fair THEN coalesce(j.tenant, '') ELSE '' END);
  j.special := j.concurrency_key IS NOT NULL OR coalesce(j.unique_for = 'started', false);
  INSERT INTO windlass.jobs ({job}) SELECT {job j};
  q := {v}.moved(q, p_from, 2::smallint, 1);
  IF j.special THEN
    RETURN {v}.place(q, j, false);
  END IF;
  RETURN {v}.line_waits(q, {v}.line_of_job(j), 1, 0);
END $$;

-- Wakes a parked job: into its line if it is due, else back to waiting for its time. Answers 0 when there is none.
CREATE OR REPLACE FUNCTION {v}.unpark(q windlass.queues, p_id uuid, p_now bigint, OUT p_queue windlass.queues, OUT p_state smallint)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  w windlass.waiting;
  j windlass.jobs;
BEGIN
  p_queue := q;
  p_state := 0;
  SELECT * INTO w FROM windlass.waiting WHERE id = p_id AND state = 'parked' FOR UPDATE;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  DELETE FROM windlass.dependencies WHERE child = p_id;
  IF w.run_at > p_now THEN
    UPDATE windlass.waiting SET state = 'scheduled', reason = NULL, token = NULL, park_until = NULL WHERE id = p_id;
    p_queue := {v}.moved(p_queue, 4::smallint, 1::smallint, 1);
    p_queue.due := least(p_queue.due, w.run_at);
    p_state := 1;
    RETURN;
  END IF;
  DELETE FROM windlass.waiting WHERE id = p_id;
  j := {v}.job_of(w);
  p_queue := {v}.let_go(p_queue, j, 4::smallint, p_now);
  p_state := 2;
END $$;

CREATE OR REPLACE FUNCTION {v}.job_of(w windlass.waiting) RETURNS windlass.jobs
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  j windlass.jobs;
BEGIN
  SELECT {job w} INTO {job j};
  RETURN j;
END $$;

-- A job that has left its place ends unrun: cancelled or dead, with what hangs on it.
CREATE OR REPLACE FUNCTION {v}.end_waiting(q windlass.queues, j windlass.jobs, p_from smallint, p_to text, p_reason text, p_now bigint) RETURNS windlass.queues
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  IF p_to = 'dead' THEN
    INSERT INTO windlass.dead ({job}, reason, finished_at) SELECT {job j}, p_reason, p_now;
  ELSE
    INSERT INTO windlass.history ({past}, state, reason, finished_at) SELECT {past j}, p_to, p_reason, p_now;
  END IF;
  IF p_from = 4 THEN
    DELETE FROM windlass.dependencies WHERE child = j.id;
  END IF;
  q := {v}.moved(q, p_from, {v}.state_number(p_to), 1);
  PERFORM {v}.after_end(j, p_to, p_now);
  RETURN q;
END $$;

-- What hangs on the end of a job that had no lease: its key, its follow-up, those that wait for it. Takes no lock.
CREATE OR REPLACE FUNCTION {v}.after_end(j windlass.jobs, p_to text, p_now bigint) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  PERFORM {v}.name_children(j, p_to, ARRAY[{v}.finish(j, p_to, p_now)], p_now);
  PERFORM {v}.tell_children(j.id);
END $$;

-- A parent ended: its children's queues are told to look again.
CREATE OR REPLACE FUNCTION {v}.tell_children(p_parent uuid) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  v_told text;
BEGIN
  WITH told AS (
    INSERT INTO windlass.events (queue, what, jobs, id)
    SELECT w.queue, 'p', 1, w.id FROM windlass.dependencies d JOIN windlass.waiting w ON w.id = d.child WHERE d.parent = p_parent AND w.state = 'parked'
    RETURNING queue)
  SELECT string_agg(queue, ' ') INTO v_told FROM told;
  IF v_told IS NOT NULL THEN
    PERFORM set_config('windlass.told', coalesce(current_setting('windlass.told', true), '') || ' ' || v_told, true);
  END IF;
END $$;

-- Where a job stands, whatever table it is in, as a state; NULL when there is none of this tenant.
CREATE OR REPLACE FUNCTION {v}.state_of(p_id uuid) RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
  v_state text;
BEGIN
  SELECT CASE WHEN {v}.is_running(j.line, j.seq, j.id) THEN 'running' ELSE 'queued' END INTO v_state FROM windlass.jobs j WHERE j.id = p_id;
  IF v_state IS NULL THEN
    SELECT w.state INTO v_state FROM windlass.waiting w WHERE w.id = p_id;
  END IF;
  IF v_state IS NULL THEN
    SELECT d.state INTO v_state FROM windlass.dead d WHERE d.id = p_id;
  END IF;
  IF v_state IS NULL THEN
    SELECT h.state INTO v_state FROM windlass.history h WHERE h.id = p_id LIMIT 1;
  END IF;
  RETURN v_state;
END $$;

CREATE OR REPLACE FUNCTION {v}.is_running(p_line bigint, p_seq bigint, p_id uuid) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN (
    SELECT EXISTS (SELECT FROM windlass.claims c WHERE c.line = p_line AND p_seq = ANY (c.seqs)));
END $$;

-- Drops what is fulfilled, and lets the job go if nothing is open. A parent of another tenant reads as missing.
CREATE OR REPLACE FUNCTION {v}.look_at_dependencies(q windlass.queues, p_id uuid, p_now bigint) RETURNS windlass.queues
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  w windlass.waiting;
  d record;
  v_state text;
  v_reason text;
BEGIN
  SELECT * INTO w FROM windlass.waiting WHERE id = p_id AND state = 'parked';
  IF NOT FOUND OR NOT EXISTS (SELECT FROM windlass.dependencies WHERE child = p_id) THEN
    RETURN q;
  END IF;
  FOR d IN SELECT parent FROM windlass.dependencies WHERE child = p_id LOOP
    -- A parent that is just ending is not seen as live here while its own transaction misses this child.
    PERFORM FROM windlass.jobs WHERE id = d.parent FOR KEY SHARE SKIP LOCKED;
    IF NOT FOUND AND EXISTS (SELECT FROM windlass.jobs WHERE id = d.parent) THEN
      PERFORM {v}.tell(q.queue, 'p', NULL, NULL, p_id, NULL, NULL);
      RETURN q;
    END IF;
    v_state := {v}.parent_state(d.parent, w.tenant);
    IF v_state = 'completed' THEN
      DELETE FROM windlass.dependencies WHERE parent = d.parent AND child = p_id;
    ELSIF v_state IN ('dead', 'cancelled') THEN
      v_reason := 'dependency_dead';
    ELSIF v_state IS NULL THEN
      v_reason := coalesce(v_reason, 'dependency_missing');
    ELSE
      v_reason := coalesce(v_reason, 'dependency');
    END IF;
  END LOOP;
  IF v_reason IS NULL THEN
    RETURN ({v}.unpark(q, p_id, p_now)).p_queue;
  END IF;
  UPDATE windlass.waiting SET reason = v_reason WHERE id = p_id AND reason IS DISTINCT FROM v_reason;
  RETURN q;
END $$;

CREATE OR REPLACE FUNCTION {v}.parent_state(p_id uuid, p_tenant text) RETURNS text
LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN (
    SELECT 'live' FROM windlass.jobs WHERE id = p_id AND tenant IS NOT DISTINCT FROM p_tenant
    UNION ALL SELECT 'live' FROM windlass.waiting WHERE id = p_id AND tenant IS NOT DISTINCT FROM p_tenant
    UNION ALL SELECT state FROM windlass.dead WHERE id = p_id AND tenant IS NOT DISTINCT FROM p_tenant
    UNION ALL SELECT state FROM windlass.history WHERE id = p_id AND tenant IS NOT DISTINCT FROM p_tenant
    LIMIT 1);
END $$;
