-- Gates of concurrency keys. At most as many jobs of a key stand in lines as may start; the others stand behind the gate
-- and come in as it admits them. So a million jobs of one key put one row into a line, and a more urgent job of the same
-- key is never shut out by a less urgent one that merely waits.

-- A key is its tenant's own: nobody holds up another tenant's jobs, and no tenant's name has the stroke.
CREATE OR REPLACE FUNCTION {v}.gate_key(p_tenant text, p_key text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$ SELECT coalesce(p_tenant || '/', '') || p_key $$;

CREATE OR REPLACE FUNCTION {v}.gate_of(p_queue text, p_key text) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  v_gate bigint;
BEGIN
  IF p_key IS NULL THEN
    RETURN NULL;
  END IF;
  SELECT gate INTO v_gate FROM windlass.gates WHERE queue = p_queue AND key = p_key;
  IF NOT FOUND THEN
    INSERT INTO windlass.gates (queue, key) VALUES (p_queue, p_key) RETURNING gate INTO v_gate;
  END IF;
  RETURN v_gate;
END $$;

-- How many starts a rate admits now. GCRA: the theoretical arrival time moves on by one interval a start, and may run ahead
-- of the clock by the burst.
CREATE OR REPLACE FUNCTION {v}.rate_admits(p_interval bigint, p_burst integer, p_tat bigint, p_now bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$
  SELECT greatest(0, floor((p_now::numeric + p_interval::numeric * (greatest(p_burst, 1) - 1) - greatest(p_tat, p_now)) / p_interval) + 1)::bigint
$$;

-- When the next start conforms.
CREATE OR REPLACE FUNCTION {v}.rate_opens(p_interval bigint, p_burst integer, p_tat bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$ SELECT p_tat - p_interval * (greatest(p_burst, 1) - 1) $$;

CREATE OR REPLACE FUNCTION {v}.running(p_gate bigint) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN (
    SELECT count(*) FROM windlass.gate_leases WHERE gate = p_gate);
END $$;

-- Jobs of the key in lines that are at least as urgent.
CREATE OR REPLACE FUNCTION {v}.inline(p_gate bigint, p_priority smallint) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN (
    SELECT count(*) FROM windlass.stands WHERE what = 'h' AND gate = p_gate AND priority <= p_priority);
END $$;

-- Whether a due job may stand in its line. An ordered one takes its turn, or stands behind the one whose turn it is.
CREATE OR REPLACE FUNCTION {v}.admit(q windlass.queues, j windlass.jobs, p_gate bigint, p_returning boolean, OUT p_admitted boolean, OUT p_behind boolean)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  g windlass.gates;
  r windlass.rules := {v}.rules(q.queue);
BEGIN
  SELECT * INTO g FROM windlass.gates WHERE gate = p_gate;
  p_behind := false;
  IF j.ordered THEN
    IF g.head IS NOT NULL THEN
      p_behind := g.head <> j.id;
    ELSE
      -- Nobody's turn, and yet somebody waits: the rate is closed. Who came first goes first once it opens.
      p_behind := EXISTS (SELECT FROM windlass.stands WHERE gate = p_gate AND what = 'g' AND behind);
      IF NOT p_behind THEN
        UPDATE windlass.gates SET head = j.id WHERE gate = p_gate;
      END IF;
    END IF;
  END IF;
  -- Where tenants have caps, those in line do not count as ahead: a line that its tenant's cap has closed would hold up the
  -- key's other jobs while slots are free.
  p_admitted := NOT p_behind AND g.opens_at IS NULL AND (p_returning
    OR {v}.running(p_gate) + CASE WHEN r.tenant_concurrency IS NULL THEN {v}.inline(p_gate, j.priority) ELSE 0 END < greatest(r.key_concurrency, 1));
END $$;

-- An arrival time that a slower rate left behind does not hold up a faster one: nothing of the burst is left, and no more is owed. What is within a
-- second of that is of this rate, and of a clock that was read a moment earlier.
CREATE OR REPLACE FUNCTION {v}.rate_keeps(p_interval bigint, p_burst integer, p_tat bigint, p_now bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$ SELECT CASE WHEN p_tat > p_now + p_interval * p_burst + 1000000 THEN p_now + p_interval * p_burst ELSE p_tat END $$;

-- A gate's rate may be another than the one that it last started by.
CREATE OR REPLACE FUNCTION {v}.keep_to_rate(r windlass.rules, p_gate bigint, p_now bigint) RETURNS windlass.gates
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  g windlass.gates;
BEGIN
  SELECT * INTO g FROM windlass.gates WHERE gate = p_gate;
  IF g.tat <> {v}.rate_keeps(r.key_interval, r.key_burst, g.tat, p_now) THEN
    UPDATE windlass.gates SET tat = {v}.rate_keeps(r.key_interval, r.key_burst, g.tat, p_now) WHERE gate = p_gate RETURNING * INTO g;
  END IF;
  RETURN g;
END $$;

-- Lets the best of those behind the gate into their lines, as many as it admits.
CREATE OR REPLACE FUNCTION {v}.refill(q windlass.queues, p_gate bigint, p_now bigint) RETURNS windlass.queues
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  g windlass.gates;
  r windlass.rules := {v}.rules(q.queue);
  s windlass.stands;
  v_admitted bigint := 0;
  v_running bigint;
  v_standing bigint;
  v_opens bigint;
  v_ahead bigint;
BEGIN
  LOOP
    SELECT * INTO g FROM windlass.gates WHERE gate = p_gate;
    -- The most urgent; the first of the ordered ones only when nobody's turn stands.
    SELECT * INTO s FROM (
      (SELECT * FROM windlass.stands WHERE what = 'g' AND gate = p_gate AND NOT behind ORDER BY rank, pos LIMIT 1)
      UNION ALL (SELECT * FROM windlass.stands WHERE what = 'g' AND gate = p_gate AND behind AND g.head IS NULL ORDER BY rank, pos LIMIT 1)) b
    ORDER BY priority, pos LIMIT 1;
    IF s.id IS NULL THEN
      IF g.opens_at IS NOT NULL AND NOT EXISTS (SELECT FROM windlass.stands WHERE what = 'g' AND gate = p_gate) THEN
        UPDATE windlass.gates SET opens_at = NULL WHERE gate = p_gate;
      END IF;
      RETURN q;
    END IF;
    IF r.key_interval IS NOT NULL THEN
      g := {v}.keep_to_rate(r, p_gate, p_now);
      -- Those who stand in line have their tokens promised; a hundred are enough to see that none is left.
      SELECT count(*) INTO v_standing FROM (SELECT FROM windlass.stands WHERE what = 'h' AND gate = p_gate LIMIT 100) b;
      -- Where not time but those who stand in line close the gate, it opens when one of them leaves.
      v_opens := {v}.rate_opens(r.key_interval, r.key_burst, g.tat + r.key_interval * v_standing);
      IF {v}.rate_admits(r.key_interval, r.key_burst, g.tat, p_now) <= v_standing THEN
        UPDATE windlass.gates SET opens_at = CASE WHEN v_opens > p_now THEN v_opens END WHERE gate = p_gate;
        IF v_opens > p_now THEN
          q.due := least(q.due, v_opens);
        END IF;
        RETURN q;
      ELSIF g.opens_at IS NOT NULL THEN
        UPDATE windlass.gates SET opens_at = NULL WHERE gate = p_gate;
      END IF;
    ELSIF g.opens_at IS NOT NULL THEN
      UPDATE windlass.gates SET opens_at = NULL WHERE gate = p_gate;
    END IF;
    v_running := {v}.running(p_gate);
    IF r.tenant_concurrency IS NOT NULL THEN
      v_ahead := v_admitted;
    ELSE
      -- One that came back to its old place may stand before those in line.
      SELECT count(*) INTO v_ahead FROM windlass.stands
      WHERE what = 'h' AND gate = p_gate AND (priority < s.priority OR priority = s.priority AND pos < s.pos);
    END IF;
    IF v_running + v_ahead >= greatest(r.key_concurrency, 1) THEN
      RETURN q;
    END IF;
    IF s.behind THEN
      UPDATE windlass.gates SET head = s.id WHERE gate = p_gate;
    END IF;
    UPDATE windlass.stands SET what = 'h', behind = false WHERE id = s.id;
    q := {v}.line_waits(q, {v}.line(s.line), 1, 1);
    v_admitted := v_admitted + 1;
  END LOOP;
END $$;

-- A keyed job was taken out of its place: may it start? If not, it stands behind its gate now.
CREATE OR REPLACE FUNCTION {v}.gate_starts(q windlass.queues, s windlass.stands, p_now bigint, OUT p_queue windlass.queues, OUT p_starts boolean)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  g windlass.gates;
  r windlass.rules := {v}.rules(q.queue);
  v_conforms boolean;
BEGIN
  g := {v}.keep_to_rate(r, s.gate, p_now);
  v_conforms := r.key_interval IS NULL OR {v}.rate_admits(r.key_interval, r.key_burst, g.tat, p_now) > 0;
  p_starts := v_conforms AND {v}.running(s.gate) < greatest(r.key_concurrency, 1);
  IF p_starts THEN
    INSERT INTO windlass.gate_leases VALUES (s.id, s.gate);
    IF r.key_interval IS NOT NULL THEN
      UPDATE windlass.gates SET tat = greatest(tat, p_now) + r.key_interval WHERE gate = s.gate;
    END IF;
  ELSE
    IF NOT v_conforms THEN
      UPDATE windlass.gates SET opens_at = {v}.rate_opens(r.key_interval, r.key_burst, g.tat) WHERE gate = s.gate;
      q.due := least(q.due, {v}.rate_opens(r.key_interval, r.key_burst, g.tat));
    END IF;
    INSERT INTO windlass.stands VALUES (s.id, 'g', s.queue, s.line, s.priority, s.pos, s.gate, s.ordered, false, s.priority);
  END IF;
  p_queue := q;
END $$;

-- Whether a suspect of this key could start now; asked before it is taken from its place.
CREATE OR REPLACE FUNCTION {v}.gate_has_slot(p_queue text, p_gate bigint, p_now bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  g windlass.gates;
  r windlass.rules := {v}.rules(p_queue);
BEGIN
  g := {v}.keep_to_rate(r, p_gate, p_now);
  RETURN {v}.running(p_gate) < greatest(r.key_concurrency, 1)
    AND (r.key_interval IS NULL OR {v}.rate_admits(r.key_interval, r.key_burst, g.tat, p_now) > 0);
END $$;
