-- The envelope's rules as the SQL door keeps them: those of `job::envelope`, in the same order and with the same sentences;
-- tests/store/sql_door.rs runs one corpus through both. Sizes are those of jsonb's text, which is what is stored.

DO $$ BEGIN
  -- What is wrong: an RFC 6901 pointer to the member, the code and the sentence that every door gives.
  CREATE TYPE {v}.fault AS (pointer text, code text, message text);
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;

-- The first thing that is wrong with an envelope, or NULL.
CREATE OR REPLACE FUNCTION {v}.envelope_fault(p_envelope jsonb, p_payload_bytes bigint) RETURNS {v}.fault
LANGUAGE plpgsql STABLE AS $$
DECLARE
  f {v}.fault;
  v_text text := p_envelope::text;
BEGIN
  -- Only a text with that many brackets can be nested too deep; one level is the envelope's own.
  IF octet_length(v_text) > 130 AND octet_length(v_text) - octet_length(translate(v_text, '[{', '')) > 65
    AND jsonb_path_exists(p_envelope, 'strict $.**{65} ? (@.type() == "object" || @.type() == "array")') THEN
    RETURN ('', 'too_large', 'nested deeper than 64 levels; flatten it')::{v}.fault;
  END IF;
  f := {v}.shape_fault(p_envelope, '');
  IF f.code IS NULL THEN
    f := {v}.rule_fault(p_envelope, '', p_envelope ->> 'tenant', p_payload_bytes, 0);
  END IF;
  RETURN f;
END $$;

-- What no reader could take: members that are unknown, missing or of another type.
CREATE OR REPLACE FUNCTION {v}.shape_fault(p_envelope jsonb, p_at text) RETURNS {v}.fault
LANGUAGE plpgsql STABLE AS $$
DECLARE
  v_name text;
  v_value jsonb;
  f {v}.fault;
BEGIN
  IF jsonb_typeof(p_envelope) IS DISTINCT FROM 'object' THEN
    RETURN (p_at, 'wrong_type', 'an envelope is a JSON object with at least `kind` and `payload`')::{v}.fault;
  END IF;
  FOR v_name, v_value IN SELECT e.key, e.value FROM jsonb_each(p_envelope) e LOOP
    CONTINUE WHEN v_name IN ('payload', 'account');
    f := CASE
      WHEN v_name IN ('kind', 'queue', 'tenant', 'unique_key', 'concurrency_key', 'id', 'run_at', 'expires_at', 'event_time', 'unique_for', 'on_duplicate', 'idempotency_key')
        THEN {v}.text_fault(v_name, v_value, p_at || '/' || v_name)
      WHEN v_name IN ('priority', 'delay_ms', 'debounce_max_ms', 'timeout_ms', 'max_attempts') THEN {v}.whole_fault(v_name, v_value, p_at || '/' || v_name)
      WHEN v_name IN ('tags', 'after') THEN {v}.list_fault(v_name, v_value, p_at || '/' || v_name)
      WHEN v_name IN ('on_success', 'on_failure') AND v_value <> 'null' THEN {v}.shape_fault(v_value, p_at || '/' || v_name)
      WHEN v_name = 'ordered' AND jsonb_typeof(v_value) NOT IN ('boolean', 'null') THEN (p_at || '/ordered', 'wrong_type', 'must be true or false')::{v}.fault
      WHEN v_name = 'meta' AND jsonb_typeof(v_value) NOT IN ('object', 'null') THEN (p_at || '/meta', 'wrong_type', 'must be an object')::{v}.fault
      WHEN v_name NOT IN ('on_success', 'on_failure', 'ordered', 'meta') THEN
        (p_at || '/' || replace(replace(left(v_name, 40), '~', '~0'), '/', '~1'), 'unknown_member', format('unknown member `%s`; %s', left(v_name, 40), {v}.nearest(v_name)))::{v}.fault
    END;
    IF f.code IS NOT NULL THEN
      RETURN f;
    END IF;
  END LOOP;
  IF NOT p_envelope ? 'kind' THEN
    RETURN (p_at || '/kind', 'wrong_type', '`kind` is required')::{v}.fault;
  ELSIF NOT p_envelope ? 'payload' THEN
    RETURN (p_at || '/payload', 'wrong_type', '`payload` is required')::{v}.fault;
  END IF;
  RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION {v}.text_fault(p_member text, p_value jsonb, p_at text) RETURNS {v}.fault
LANGUAGE plpgsql STABLE AS $$
DECLARE
  v_said text := p_value #>> '{}';
BEGIN
  IF jsonb_typeof(p_value) <> 'string' THEN
    IF p_value = 'null' AND p_member <> 'kind' THEN
      RETURN NULL;
    END IF;
    RETURN (p_at, 'wrong_type', 'must be a string')::{v}.fault;
  ELSIF p_member IN ('kind', 'queue', 'tenant', 'unique_key', 'concurrency_key', 'tags') THEN
    IF NOT {v}.is_name(v_said) THEN
      RETURN (p_at, 'bad_name', 'must be 1 to 128 of A-Z a-z 0-9 _ . : - and begin with a letter or digit, got ' || {v}.quoted(left(v_said, 40)))::{v}.fault;
    END IF;
  ELSIF p_member IN ('id', 'after') THEN
    IF {v}.uuid_of(v_said) IS NULL THEN
      RETURN (p_at, 'wrong_type', format('`%s` is not a UUID; mint a UUIDv7', left(v_said, 40)))::{v}.fault;
    END IF;
  ELSIF p_member IN ('run_at', 'expires_at', 'event_time') THEN
    IF {v}.instant(v_said) IS NULL THEN
      RETURN (p_at, 'wrong_type', format('`%s` is not an RFC 3339 time with an offset, such as 2026-12-01T09:00:00Z', left(v_said, 40)))::{v}.fault;
    END IF;
  ELSIF p_member = 'unique_for' THEN
    IF v_said NOT IN ('until_finished', 'until_started') AND {v}.window_secs(v_said) IS NULL THEN
      RETURN (p_at, 'wrong_type', format('`%s` is none of until_finished, until_started or a duration such as PT10M or P1D (at most P366D)', left(v_said, 40)))::{v}.fault;
    END IF;
  ELSIF p_member = 'on_duplicate' AND v_said NOT IN ('return', 'replace', 'reject', 'debounce') THEN
    RETURN (p_at, 'wrong_type', format('`%s` is none of return, replace, reject, debounce', left(v_said, 40)))::{v}.fault;
  END IF;
  RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION {v}.whole_fault(p_member text, p_value jsonb, p_at text) RETURNS {v}.fault
LANGUAGE plpgsql STABLE AS $$
DECLARE
  v_number numeric;
BEGIN
  IF p_value = 'null' THEN
    RETURN NULL;
  ELSIF jsonb_typeof(p_value) = 'number' THEN
    v_number := p_value::numeric;
    IF scale(v_number) = 0 AND v_number BETWEEN -9223372036854775808 AND 18446744073709551615 THEN
      -- Those that a reader can hold are looked at with the other rules.
      IF v_number >= 0 AND v_number <= (CASE p_member WHEN 'priority' THEN 255 WHEN 'max_attempts' THEN 4294967295 ELSE 18446744073709551615 END) THEN
        RETURN NULL;
      END IF;
      RETURN (p_at, 'out_of_range', {v}.range_of(p_member))::{v}.fault;
    END IF;
  END IF;
  RETURN (p_at, 'wrong_type', {v}.range_of(p_member) || ', a whole number')::{v}.fault;
END $$;

CREATE OR REPLACE FUNCTION {v}.list_fault(p_member text, p_value jsonb, p_at text) RETURNS {v}.fault
LANGUAGE plpgsql STABLE AS $$
DECLARE
  v_item jsonb;
  v_n bigint;
  f {v}.fault;
BEGIN
  IF p_value = 'null' THEN
    RETURN NULL;
  ELSIF jsonb_typeof(p_value) <> 'array' THEN
    RETURN (p_at, 'wrong_type', 'must be a list of strings')::{v}.fault;
  END IF;
  FOR v_item, v_n IN SELECT i.value, i.ordinality - 1 FROM jsonb_array_elements(p_value) WITH ORDINALITY i LOOP
    IF v_item = 'null' THEN
      RETURN (p_at || '/' || v_n, 'wrong_type', 'must be a string')::{v}.fault;
    END IF;
    f := {v}.text_fault(p_member, v_item, p_at || '/' || v_n);
    IF f.code IS NOT NULL THEN
      RETURN f;
    END IF;
  END LOOP;
  RETURN NULL;
END $$;

-- What breaks a rule though every member reads well. `p_tenant` is the tenant of the job that this one follows.
CREATE OR REPLACE FUNCTION {v}.rule_fault(e jsonb, p_at text, p_tenant text, p_payload_bytes bigint, p_depth integer) RETURNS {v}.fault
LANGUAGE plpgsql STABLE AS $$
DECLARE
  v_bytes bigint := octet_length((e -> 'payload')::text);
  v_id uuid := {v}.uuid_of(e ->> 'id');
  v_member text;
  f {v}.fault;
BEGIN
  IF v_bytes > p_payload_bytes THEN
    RETURN (p_at || '/payload', 'too_large', format('is %s bytes, the limit is %s; store the data elsewhere and send a reference', v_bytes, p_payload_bytes))::{v}.fault;
  ELSIF e ->> 'account' IS NOT NULL THEN
    RETURN (p_at || '/account', 'not_supported', '`account` is not supported yet; leave it out until budgets are released')::{v}.fault;
  ELSIF e ->> 'tags' IS NOT NULL AND jsonb_array_length(e -> 'tags') > 20 THEN
    RETURN (p_at || '/tags', 'out_of_range', 'at most 20 tags')::{v}.fault;
  ELSIF e ->> 'after' IS NOT NULL AND jsonb_array_length(e -> 'after') > 100 THEN
    RETURN (p_at || '/after', 'out_of_range', 'at most 100 dependencies')::{v}.fault;
  ELSIF e ->> 'meta' IS NOT NULL AND octet_length(e ->> 'meta') > 4096 THEN
    RETURN (p_at || '/meta', 'too_large', 'at most 4096 bytes')::{v}.fault;
  ELSIF v_id IS NOT NULL AND substr(v_id::text, 15, 1) <> '7' THEN
    RETURN (p_at || '/id', 'out_of_range', format('`%s` is not a UUIDv7; mint a version 7 id or leave it out', v_id))::{v}.fault;
  END IF;
  v_member := CASE
    WHEN (e ->> 'priority')::numeric > 9 THEN 'priority'
    WHEN (e ->> 'delay_ms')::numeric > 316224000000 THEN 'delay_ms'
    WHEN (e ->> 'debounce_max_ms')::numeric > 316224000000 THEN 'debounce_max_ms'
    WHEN (e ->> 'timeout_ms')::numeric NOT BETWEEN 1 AND 86400000 THEN 'timeout_ms'
    WHEN (e ->> 'max_attempts')::numeric NOT BETWEEN 1 AND 1000 THEN 'max_attempts'
  END;
  IF v_member IS NOT NULL THEN
    RETURN (p_at || '/' || v_member, 'out_of_range', {v}.range_of(v_member))::{v}.fault;
  ELSIF (e ->> 'delay_ms')::bigint > 0 AND e ->> 'run_at' IS NOT NULL THEN
    RETURN (p_at || '/delay_ms', 'conflict', '`run_at` and `delay_ms` are both set; send one of them')::{v}.fault;
  ELSIF e ->> 'expires_at' IS NOT NULL AND {v}.instant(e ->> 'expires_at') <= {v}.instant(e ->> 'run_at') THEN
    RETURN (p_at || '/expires_at', 'conflict', 'is not after `run_at`, so the job could never start; send a later one')::{v}.fault;
  ELSIF e ->> 'idempotency_key' !~ '^[ -~]{1,255}$' THEN
    RETURN (p_at || '/idempotency_key', 'bad_name', 'must be 1 to 255 printable ASCII characters')::{v}.fault;
  ELSIF (e ->> 'ordered')::boolean AND e ->> 'concurrency_key' IS NULL THEN
    RETURN (p_at || '/ordered', 'conflict', 'needs a `concurrency_key`, which names the sequence')::{v}.fault;
  ELSIF v_id IS NOT NULL AND e ->> 'after' IS NOT NULL AND EXISTS (SELECT FROM jsonb_array_elements_text(e -> 'after') a WHERE {v}.uuid_of(a) = v_id) THEN
    RETURN (p_at || '/after', 'conflict', 'a job cannot wait for itself; leave its own id out')::{v}.fault;
  END IF;
  f := {v}.unique_fault(e, p_at);
  FOREACH v_member IN ARRAY ARRAY['on_success', 'on_failure'] LOOP
    EXIT WHEN f.code IS NOT NULL;
    CONTINUE WHEN e ->> v_member IS NULL;
    IF p_depth >= 8 THEN
      RETURN (p_at || '/' || v_member, 'too_large', 'at most 8 follow-ups inside one another')::{v}.fault;
    ELSIF e -> v_member ->> 'tenant' IS NOT NULL AND e -> v_member ->> 'tenant' IS DISTINCT FROM p_tenant THEN
      RETURN (p_at || '/' || v_member || '/tenant', 'conflict', 'a follow-up stays in its job''s tenant; leave it out')::{v}.fault;
    END IF;
    f := {v}.rule_fault(e -> v_member, p_at || '/' || v_member, p_tenant, p_payload_bytes, p_depth + 1);
  END LOOP;
  RETURN f;
END $$;

CREATE OR REPLACE FUNCTION {v}.unique_fault(e jsonb, p_at text) RETURNS {v}.fault
LANGUAGE plpgsql STABLE AS $$
DECLARE
  v_on text := coalesce(e ->> 'on_duplicate', 'return');
  v_member text;
BEGIN
  IF e ->> 'unique_key' IS NULL THEN
    v_member := CASE WHEN e ->> 'unique_for' IS NOT NULL THEN 'unique_for' WHEN e ->> 'on_duplicate' IS NOT NULL THEN 'on_duplicate'
      WHEN e ->> 'debounce_max_ms' IS NOT NULL THEN 'debounce_max_ms' END;
    IF v_member IS NOT NULL THEN
      RETURN (p_at || '/' || v_member, 'conflict', 'needs a `unique_key`')::{v}.fault;
    END IF;
  ELSIF v_on IN ('replace', 'debounce') AND e ->> 'unique_for' IS DISTINCT FROM 'until_started' THEN
    RETURN (p_at || '/on_duplicate', 'conflict', '`replace` and `debounce` need `unique_for: until_started`, because a started job cannot be swapped')::{v}.fault;
  ELSIF e ->> 'debounce_max_ms' IS NOT NULL AND v_on <> 'debounce' THEN
    RETURN (p_at || '/debounce_max_ms', 'conflict', 'belongs to `on_duplicate: debounce`')::{v}.fault;
  ELSIF v_on = 'debounce' AND coalesce((e ->> 'delay_ms')::bigint, 0) = 0 THEN
    RETURN (p_at || '/on_duplicate', 'conflict', '`debounce` needs `delay_ms`, the quiet time to wait for')::{v}.fault;
  END IF;
  RETURN NULL;
END $$;

-- The range of a whole number, as it is told to people.
CREATE OR REPLACE FUNCTION {v}.range_of(p_member text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE p_member WHEN 'priority' THEN 'must be 0 (first) to 9 (last)' WHEN 'timeout_ms' THEN 'must be 1 to 86400000 (24 hours)'
    WHEN 'max_attempts' THEN 'must be 1 to 1000' ELSE 'must be 0 to 316224000000 (ten years)' END
$$;

-- A text in quotes; what cannot be seen is spelled out.
CREATE OR REPLACE FUNCTION {v}.quoted(p_text text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT '"' || coalesce(string_agg(CASE WHEN c IN ('"', '\') THEN '\' || c WHEN c = E'\n' THEN '\n' WHEN c = E'\r' THEN '\r' WHEN c = E'\t' THEN '\t'
    WHEN ascii(c) < 32 OR ascii(c) BETWEEN 127 AND 159 OR ascii(c) IN (173, 65279) OR ascii(c) BETWEEN 8203 AND 8207 OR ascii(c) BETWEEN 8232 AND 8238
      OR ascii(c) BETWEEN 8288 AND 8303 OR ascii(c) >= 917504 THEN '\u{' || to_hex(ascii(c)) || '}' ELSE c END, '' ORDER BY n), '') || '"'
  FROM string_to_table(p_text, NULL) WITH ORDINALITY t (c, n)
$$;

-- A UUID in one of the forms that are read, or NULL.
CREATE OR REPLACE FUNCTION {v}.uuid_of(p_text text) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN p_text ~* '^(urn:uuid:)?[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$|^[0-9a-f]{32}$|^\{[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\}$'
    THEN regexp_replace(p_text, '^urn:uuid:', '', 'i')::uuid END
$$;

-- The seconds of an ISO 8601 duration of days, hours, minutes and seconds, more than none and at most 366 days; or NULL.
CREATE OR REPLACE FUNCTION {v}.window_secs(p_text text) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN secs BETWEEN 1 AND 366 * 86400 THEN secs END
  FROM regexp_match(p_text, '^P(?:([0-9]{1,9})D)?(?:T(?=[0-9])(?:([0-9]{1,9})H)?(?:([0-9]{1,9})M)?(?:([0-9]{1,9})S)?)?$') m,
    LATERAL (SELECT coalesce(m[1]::bigint, 0) * 86400 + coalesce(m[2]::bigint, 0) * 3600 + coalesce(m[3]::bigint, 0) * 60 + coalesce(m[4]::bigint, 0)) s (secs)
$$;

-- The known member that an unknown one is most like (Jaro-Winkler above 0.75), as advice.
CREATE OR REPLACE FUNCTION {v}.nearest(p_member text) RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
  v_best text;
BEGIN
  IF octet_length(p_member) <= 64 THEN
    SELECT m INTO v_best
    FROM unnest(ARRAY['kind', 'payload', 'id', 'queue', 'tenant', 'priority', 'run_at', 'delay_ms', 'expires_at', 'timeout_ms', 'max_attempts', 'unique_key', 'unique_for',
      'on_duplicate', 'debounce_max_ms', 'idempotency_key', 'concurrency_key', 'ordered', 'tags', 'event_time', 'after', 'on_success', 'on_failure', 'account', 'meta'])
      WITH ORDINALITY u (m, n) CROSS JOIN LATERAL {v}.likeness(m, p_member) l
    WHERE l > 0.75 ORDER BY l DESC, n DESC LIMIT 1;
  END IF;
  RETURN coalesce('did you mean `' || v_best || '`?', 'only the members of the envelope are accepted; put your own data into `payload` or `meta`');
END $$;

-- The Jaro-Winkler likeness of two words, 0 to 1.
CREATE OR REPLACE FUNCTION {v}.likeness(p_a text, p_b text) RETURNS double precision
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
  a text[] := string_to_array(p_a, NULL);
  b text[] := string_to_array(p_b, NULL);
  v_range integer := greatest(greatest(cardinality(a), cardinality(b)) / 2 - 1, 0);
  v_taken boolean[] := array_fill(false, ARRAY[greatest(cardinality(b), 1)]);
  v_ours text[] := '{}';
  v_theirs text[];
  v_matches double precision;
  v_crossed integer;
  v_alike double precision;
  v_prefix integer := 0;
BEGIN
  FOR i IN 1 .. cardinality(a) LOOP
    FOR j IN greatest(1, i - v_range) .. least(cardinality(b), i + v_range) LOOP
      IF a[i] = b[j] AND NOT v_taken[j] THEN
        v_taken[j] := true;
        v_ours := v_ours || a[i];
        EXIT;
      END IF;
    END LOOP;
  END LOOP;
  v_matches := cardinality(v_ours);
  IF v_matches = 0 THEN
    RETURN 0;
  END IF;
  v_theirs := ARRAY(SELECT b[j] FROM generate_subscripts(b, 1) j WHERE v_taken[j] ORDER BY j);
  SELECT count(*) / 2 INTO v_crossed FROM unnest(v_ours, v_theirs) t (x, y) WHERE x <> y;
  v_alike := (v_matches / cardinality(a) + v_matches / cardinality(b) + (v_matches - v_crossed) / v_matches) / 3;
  IF v_alike > 0.7 THEN
    WHILE v_prefix < least(4, cardinality(a), cardinality(b)) AND a[v_prefix + 1] = b[v_prefix + 1] LOOP
      v_prefix := v_prefix + 1;
    END LOOP;
    v_alike := v_alike + 0.1::double precision * v_prefix * (1 - v_alike);
  END IF;
  RETURN v_alike;
END $$;
