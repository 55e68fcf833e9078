-- Small words that the other routines are made of.

-- The number of a line. The seed is the installation's own secret, so that nobody can choose names that meet another's line.
CREATE OR REPLACE FUNCTION {v}.line_of(p_queue text, p_priority smallint, p_lane text) RETURNS bigint
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN
  RETURN (
    SELECT hashtextextended(p_queue || ' ' || p_priority || ' ' || p_lane, seed) FROM windlass.installation);
END $$;

-- `p_now` in tests, the server's clock otherwise; microseconds since 1970.
CREATE OR REPLACE FUNCTION {v}.clock(p_now bigint) RETURNS bigint
LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
  SELECT coalesce(p_now, (date_part('epoch', clock_timestamp()) * 1000000)::bigint)
$$;

-- The microseconds of an RFC 3339 time, or NULL where the text is none or leaves the years 0 to 9999.
CREATE OR REPLACE FUNCTION {v}.instant(p_text text) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  m text[] := regexp_match(p_text, '^([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))$');
  v_year bigint := m[1];
  v_month bigint := m[2];
  v_day bigint := m[3];
  v_leap integer;
  v_at bigint;
BEGIN
  IF m IS NULL OR v_month NOT BETWEEN 1 AND 12 OR m[4] > '23' OR m[5] > '59' OR m[6] > '60' OR m[9] > '23' OR m[10] > '59' THEN
    RETURN NULL;
  END IF;
  v_leap := (v_year % 4 = 0 AND v_year % 100 <> 0 OR v_year % 400 = 0)::integer;
  IF v_day NOT BETWEEN 1 AND (ARRAY[31, 28 + v_leap, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])[v_month] THEN
    RETURN NULL;
  END IF;
  -- Days since 1970 in the Gregorian calendar, years beginning in March.
  v_year := v_year + 4800 - (v_month <= 2)::integer;
  v_month := (v_month + 9) % 12;
  v_at := v_day + (153 * v_month + 2) / 5 + 365 * v_year + v_year / 4 - v_year / 100 + v_year / 400 - 2472633;
  v_at := ((v_at * 24 + m[4]::bigint) * 60 + m[5]::bigint) * 60 + m[6]::bigint
    - coalesce((m[8] || '1')::bigint * (m[9]::bigint * 3600 + m[10]::bigint * 60), 0);
  v_at := v_at * 1000000 + coalesce(left(rpad(m[7], 6, '0'), 6)::bigint, 0);
  IF v_at BETWEEN -62167219200000000 AND 253402300799999999 THEN
    RETURN v_at;
  END IF;
  RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION {v}.rfc3339(p_us bigint) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT to_char((timestamptz 'epoch' + p_us * interval '1 microsecond') AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;

-- Never past the last instant that RFC 3339 can write.
CREATE OR REPLACE FUNCTION {v}.plus_ms(p_at bigint, p_ms bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT least(p_at + p_ms::numeric * 1000, 253402300799999999)::bigint
$$;

CREATE OR REPLACE FUNCTION {v}.state_number(p_state text) RETURNS smallint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT array_position(ARRAY['scheduled', 'queued', 'running', 'parked', 'completed', 'cancelled', 'dead'], p_state)::smallint
$$;

CREATE OR REPLACE FUNCTION {v}.kind(p_kind text) RETURNS windlass.kinds
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
  v_row windlass.kinds;
BEGIN
  SELECT * INTO v_row FROM windlass.kinds WHERE kind = p_kind;
  IF NOT FOUND THEN
    SELECT * INTO v_row FROM windlass.kinds WHERE kind = '';
  END IF;
  RETURN v_row;
END $$;

CREATE OR REPLACE FUNCTION {v}.rules(p_queue text) RETURNS windlass.rules
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
  v_row windlass.rules;
BEGIN
  SELECT * INTO v_row FROM windlass.rules WHERE queue = p_queue;
  IF NOT FOUND THEN
    SELECT * INTO v_row FROM windlass.rules WHERE queue = '';
  END IF;
  RETURN v_row;
END $$;

-- Whether another program has put something into a row that is no name.
CREATE OR REPLACE FUNCTION {v}.is_name(p_text text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT p_text ~ '^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$' $$;

-- The next number of a job's row, alone in its block.
CREATE OR REPLACE FUNCTION {v}.next_seq() RETURNS bigint
LANGUAGE sql VOLATILE AS $$ SELECT nextval('windlass.numbers') << 10 $$;

-- The record list with one more; only the newest 20 stay.
CREATE OR REPLACE FUNCTION {v}.with_record(p_records text[], p_record json) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT p_records[greatest(1, cardinality(p_records) - 18) :] || p_record::text
$$;

-- Somebody who does not hold the queue's lock tells its next reader what changed.
CREATE OR REPLACE FUNCTION {v}.tell(p_queue text, p_what "char", p_gone integer, p_come integer, p_id uuid, p_line bigint, p_at bigint) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  INSERT INTO windlass.events (queue, what, gone, come, jobs, id, line, at)
  VALUES (p_queue, p_what, p_gone::smallint, p_come::smallint, 1, p_id, p_line, p_at);
END $$;

-- Whether nobody sleeps; and nobody falls asleep then before this transaction has ended. A daemon that sleeps holds this
-- lock alone, and it gets it only when no transaction that brings work is under way. So a busy system pays no NOTIFY, and
-- what is committed is never overlooked.
CREATE OR REPLACE FUNCTION {v}.keep_awake() RETURNS boolean
LANGUAGE sql VOLATILE AS $$ SELECT pg_try_advisory_xact_lock_shared(1465206861, 0) $$;

-- The daemon that sleeps is woken when this transaction commits.
CREATE OR REPLACE FUNCTION {v}.wake() RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  IF NOT {v}.keep_awake() THEN
    PERFORM pg_notify('windlass', '');
  END IF;
END $$;
