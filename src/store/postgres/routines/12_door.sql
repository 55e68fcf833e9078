-- What producers call, in their own transactions: commit and the job is there, roll back and it never was.
--
--   SELECT windlass.enqueue('email.send', '{"to": "a@example.com"}', '{"queue": "mail", "unique_key": "welcome:7"}');
--   SELECT windlass.enqueue_many('[{"kind": "a", "payload": 1}, {"kind": "b", "payload": 2}]');
--   SELECT windlass.enqueue_many('email.send', ARRAY['{"to": "a@example.com"}', '{"to": "b@example.com"}']::json[], '{"queue": "mail"}');
--
-- They belong to the newest release that has migrated the database. Errors have SQLSTATEs of their own; the message is the
-- sentence that every door gives, DETAIL is JSON.
--
--   WLE01 too_large         WLE02 unknown_member    WLE03 wrong_type       WLE04 bad_name
--   WLE05 out_of_range      WLE06 conflict: two members contradict each other
--   WLE07 not_supported     42501 forbidden: another tenant's
--   WLC01 the id or idempotency key was used with another body
--   WLC02 the unique key is held, and `on_duplicate` is `reject`

-- Enqueues one job and answers its id. `options` holds the other members of the envelope.
CREATE OR REPLACE FUNCTION windlass.enqueue(kind text, payload jsonb, options jsonb DEFAULT '{}') RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  v_payload text := payload;
  v_now bigint := {v}.clock(NULL);
  v_says_more boolean := options <> '{}' OR concat(current_setting('windlass.tenant', true), current_setting('request.jwt.claims', true)) <> '';
  v_tenant text;
  v_given_queue text;
  v_given_priority smallint;
  v_door text := nullif(kind, '');
  v_fits boolean;
  v_queue text;
  v_priority smallint;
  v_timeout_ms bigint;
  v_max_attempts integer;
  v_unfair text[];
  v_line bigint;
  v_seq bigint;
  v_id uuid;
BEGIN
  -- What a call costs in another program's transaction is statements, tables and functions, each of which is looked up anew. So
  -- a plain job, as most are, takes one look and one statement that writes, and whatever is not found good a closer look.
  IF v_says_more THEN
    v_tenant := nullif(current_setting('windlass.tenant', true), '');
    IF current_setting('request.jwt.claims', true) <> '' OR {v}.is_name(v_tenant) IS false OR NOT {v}.are_few(options, v_tenant) THEN
      RETURN {v}.look_at_envelope({v}.envelope_of(kind, payload, options));
    END IF;
    v_given_queue := options ->> 'queue';
    v_given_priority := options ->> 'priority';
    v_tenant := coalesce(v_tenant, options ->> 'tenant');
  END IF;
  LOOP
    -- The transaction has its number before the job has its own.
    SELECT NOT d.bound AND octet_length(v_payload) <= d.payload_bytes AND {v}.is_flat(v_payload), coalesce(v_given_queue, d.queue),
      coalesce(v_given_priority, d.priority), d.timeout_ms, d.max_attempts, d.unfair, d.line,
      CASE WHEN pg_current_xact_id() IS NOT NULL THEN nextval('windlass.numbers') << 10 END, {v}.mint(v_now)
    INTO v_fits, v_queue, v_priority, v_timeout_ms, v_max_attempts, v_unfair, v_line, v_seq, v_id
    FROM windlass.doors d WHERE d.kind = v_door;
    EXIT WHEN FOUND;
    -- A kind without settings of its own goes through the door of all those.
    EXIT WHEN v_door = '' OR {v}.is_name(kind) IS NOT true;
    v_door := '';
  END LOOP;
  IF v_fits IS NOT true THEN
    RETURN {v}.look_at_envelope({v}.envelope_of(kind, payload, options));
  ELSIF v_says_more OR v_line IS NULL THEN
    v_line := {v}.line_of(v_queue, v_priority, CASE WHEN v_queue = ANY (v_unfair) THEN '' ELSE coalesce(v_tenant, '') END);
  END IF;
  WITH job AS (
    INSERT INTO windlass.jobs (seq, line, pos, created_at, run_at, timeout_ms, attempt, max_attempts, priority, deaths, special, ordered, id, kind, queue, tenant, payload)
    VALUES (v_seq, v_line, v_seq, v_now, v_now, v_timeout_ms, 0, v_max_attempts, v_priority, 0, false, false, v_id, kind, v_queue, v_tenant, v_payload))
  INSERT INTO windlass.events (queue, what, come, jobs, line, first, last) VALUES (v_queue, 'l', 2, 1, v_line, v_seq, v_seq);
  IF NOT {v}.keep_awake() THEN
    PERFORM {v}.wake();
  END IF;
  RETURN v_id;
END $$;

-- Whether the options are queue, tenant and priority at most, and good; and no other tenant's than `p_bound` if the session has one.
CREATE OR REPLACE FUNCTION {v}.are_few(p_options jsonb, p_bound text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT p_options - ARRAY['queue', 'tenant', 'priority'] = '{}'
    AND (p_options -> 'queue' IS NULL OR jsonb_typeof(p_options -> 'queue') = 'string' AND {v}.is_name(p_options ->> 'queue'))
    AND (p_options -> 'tenant' IS NULL OR jsonb_typeof(p_options -> 'tenant') = 'string' AND coalesce(p_options ->> 'tenant' = p_bound, {v}.is_name(p_options ->> 'tenant')))
    AND (p_options -> 'priority' IS NULL OR p_options -> 'priority' IN ('0', '1', '2', '3', '4', '5', '6', '7', '8', '9'))
$$;

-- Enqueues a JSON array of envelopes, all or none, and answers their ids in the same order.
CREATE OR REPLACE FUNCTION windlass.enqueue_many(jobs jsonb) RETURNS SETOF uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off AS $$
BEGIN
  RETURN QUERY SELECT unnest({v}.enqueue_envelopes(jobs));
END $$;

-- Enqueues many jobs that differ in their payloads only: the same, and faster.
CREATE OR REPLACE FUNCTION windlass.enqueue_many(kind text, payloads json[], options jsonb DEFAULT '{}') RETURNS SETOF uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off AS $$
BEGIN
  RETURN QUERY SELECT unnest({v}.enqueue_like(kind, payloads, options));
END $$;

CREATE OR REPLACE FUNCTION {v}.look_at_envelope(p_envelope jsonb) RETURNS uuid
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  e jsonb := {v}.bind(p_envelope, windlass.tenant(), '');
  f {v}.fault := {v}.envelope_fault(e, (SELECT payload_bytes FROM windlass.installation));
BEGIN
  IF f.code IS NOT NULL THEN
    PERFORM {v}.refuse_envelopes(ARRAY[f]);
  ELSIF NOT {v}.is_plain(e) THEN
    RETURN ({v}.enqueue_each(ARRAY[{v}.new_job(e, e ->> 'tenant')], ARRAY[{v}.print_of(e)], {v}.clock(NULL))).p_ids[1];
  END IF;
  RETURN ({v}.put_envelopes(ARRAY[e]))[1];
END $$;

-- A text with so few brackets cannot be nested too deep.
CREATE OR REPLACE FUNCTION {v}.is_flat(p_text text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT octet_length(p_text) <= 128 OR octet_length(p_text) - octet_length(replace(replace(p_text, '[', ''), '{', '')) <= 64
$$;

-- Whether the job is due at once and stands in its line by its number alone.
CREATE OR REPLACE FUNCTION {v}.is_lone(e jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT NOT e ?| ARRAY['run_at', 'delay_ms', 'expires_at', 'concurrency_key', 'ordered']
$$;

CREATE OR REPLACE FUNCTION {v}.envelope_of(p_kind text, p_payload jsonb, p_options jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE AS $$
DECLARE
  v_member text;
BEGIN
  IF p_options IS NOT NULL AND jsonb_typeof(p_options) <> 'object' THEN
    PERFORM {v}.refuse_envelopes(ARRAY[('', 'wrong_type', '`options` is a JSON object with the other members of the envelope')::{v}.fault]);
  ELSIF p_options ?| ARRAY['kind', 'payload'] THEN
    v_member := CASE WHEN p_options ? 'kind' THEN 'kind' ELSE 'payload' END;
    PERFORM {v}.refuse_envelopes(ARRAY[('/' || v_member, 'conflict', format('`%s` is there twice; send it once', v_member))::{v}.fault]);
  END IF;
  RETURN CASE WHEN p_kind IS NULL THEN '{}' ELSE jsonb_build_object('kind', p_kind) END
    || CASE WHEN p_payload IS NULL THEN '{}' ELSE jsonb_build_object('payload', p_payload) END || coalesce(p_options, '{}');
END $$;

-- Whether the job can be written without a look at others: no id of the producer's, no key that another could hold, no dependency.
CREATE OR REPLACE FUNCTION {v}.is_plain(e jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT NOT e ?| ARRAY['id', 'unique_key', 'idempotency_key', 'after']
$$;

-- `windlass.enqueue_many`: all or none, and every bad one is named.
CREATE OR REPLACE FUNCTION {v}.enqueue_envelopes(p_jobs jsonb) RETURNS uuid[]
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  v_bytes bigint := (SELECT payload_bytes FROM windlass.installation);
  v_bound text := windlass.tenant();
  v_first jsonb := p_jobs -> 0;
  v_ids uuid[];
  v_jobs jsonb[];
  v_faults {v}.fault[];
BEGIN
  IF jsonb_typeof(p_jobs) IS DISTINCT FROM 'array' THEN
    PERFORM {v}.refuse_envelopes(ARRAY[('', 'wrong_type', 'send a JSON array of envelopes')::{v}.fault]);
  ELSIF jsonb_array_length(p_jobs) = 0 THEN
    RETURN '{}';
  ELSIF {v}.may_have_likes(v_first, v_bytes) THEN
    -- Most likely they differ in their payload only.
    v_ids := {v}.put_likes(v_first, {v}.payloads_alike(p_jobs, v_first - 'payload'), v_bytes);
    IF v_ids IS NOT NULL THEN
      RETURN v_ids;
    END IF;
  END IF;
  v_jobs := ARRAY(SELECT {v}.bind(job, v_bound, '/' || n - 1) FROM jsonb_array_elements(p_jobs) WITH ORDINALITY u (job, n) ORDER BY n);
  SELECT array_agg(('/' || n - 1 || f.pointer, f.code, f.message)::{v}.fault ORDER BY n) INTO v_faults
  FROM unnest(v_jobs) WITH ORDINALITY u (job, n) CROSS JOIN LATERAL {v}.envelope_fault(job, v_bytes) f WHERE f.code IS NOT NULL;
  IF v_faults IS NOT NULL THEN
    PERFORM {v}.refuse_envelopes(v_faults);
  ELSIF (SELECT bool_and({v}.is_plain(job)) FROM unnest(v_jobs) job) THEN
    RETURN {v}.put_envelopes(v_jobs);
  END IF;
  RETURN ({v}.enqueue_each(
    ARRAY(SELECT {v}.new_job(job, job ->> 'tenant') FROM unnest(v_jobs) WITH ORDINALITY u (job, n) ORDER BY n),
    ARRAY(SELECT {v}.print_of(job) FROM unnest(v_jobs) WITH ORDINALITY u (job, n) ORDER BY n), {v}.clock(NULL))).p_ids;
END $$;

-- The same for jobs that say the same but for their payloads, whose bytes are kept as they are.
CREATE OR REPLACE FUNCTION {v}.enqueue_like(p_kind text, p_payloads json[], p_options jsonb) RETURNS uuid[]
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  v_bytes bigint := (SELECT payload_bytes FROM windlass.installation);
  v_first jsonb := {v}.envelope_of(p_kind, 'null', p_options);
  v_ids uuid[];
BEGIN
  IF {v}.may_have_likes(v_first, v_bytes) THEN
    v_ids := {v}.put_likes(v_first, p_payloads::text[], v_bytes);
  END IF;
  RETURN coalesce(v_ids, {v}.enqueue_envelopes((
    SELECT coalesce(jsonb_agg({v}.envelope_of(p_kind, payload::jsonb, p_options) ORDER BY n), '[]') FROM unnest(p_payloads) WITH ORDINALITY u (payload, n))));
END $$;

-- Whether an envelope is good, and many like it can be written together.
CREATE OR REPLACE FUNCTION {v}.may_have_likes(e jsonb, p_bytes bigint) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN {v}.is_plain(e) AND {v}.is_lone(e) AND NOT e ?| ARRAY['tags', 'event_time', 'meta', 'on_success', 'on_failure'] AND ({v}.envelope_fault(e, p_bytes)).code IS NULL;
END $$;

-- Writes jobs like `p_first`, if their payloads are good.
CREATE OR REPLACE FUNCTION {v}.put_likes(p_first jsonb, p_payloads text[], p_bytes bigint) RETURNS uuid[]
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  v_now bigint := {v}.clock(NULL);
  v_ids uuid[];
  e jsonb;
BEGIN
  IF (SELECT bool_and(payload IS NOT NULL AND octet_length(payload) <= p_bytes AND {v}.is_flat(payload)) FROM unnest(p_payloads) payload) THEN
    e := {v}.bind(p_first, windlass.tenant(), '/0');
    v_ids := {v}.mint_many(cardinality(p_payloads), v_now);
    PERFORM {v}.put_alike(v_ids, p_payloads, e ->> 'kind', e ->> 'queue', e ->> 'tenant', (e ->> 'priority')::smallint, (e ->> 'timeout_ms')::bigint,
      (e ->> 'max_attempts')::integer, v_now);
  END IF;
  RETURN v_ids;
END $$;

-- Plain ones, together.
CREATE OR REPLACE FUNCTION {v}.put_envelopes(p_jobs jsonb[]) RETURNS uuid[]
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  v_now bigint := {v}.clock(NULL);
  v_ids uuid[] := {v}.mint_many(cardinality(p_jobs), v_now);
BEGIN
  PERFORM {v}.put_plain(v_ids, array_agg(e ->> 'kind' ORDER BY n), array_agg((e -> 'payload')::text ORDER BY n), array_agg(e ->> 'queue' ORDER BY n),
    array_agg(e ->> 'tenant' ORDER BY n), array_agg((e ->> 'priority')::smallint ORDER BY n), array_agg({v}.instant(e ->> 'run_at') ORDER BY n),
    array_agg((e ->> 'delay_ms')::bigint ORDER BY n), array_agg({v}.instant(e ->> 'expires_at') ORDER BY n), array_agg((e ->> 'timeout_ms')::bigint ORDER BY n),
    array_agg((e ->> 'max_attempts')::integer ORDER BY n), array_agg(e ->> 'concurrency_key' ORDER BY n), array_agg((e ->> 'ordered')::boolean ORDER BY n),
    array_agg(nullif({v}.extra_of(e, e ->> 'tenant')::text, '{}') ORDER BY n), v_now)
  FROM unnest(p_jobs) WITH ORDINALITY u (e, n);
  RETURN v_ids;
END $$;

-- The payloads of envelopes that are like `p_first` but for them; NULL where one is not.
CREATE OR REPLACE FUNCTION {v}.payloads_alike(p_jobs jsonb, p_first jsonb) RETURNS text[]
LANGUAGE sql STABLE AS $$
  SELECT CASE WHEN bool_and(CASE WHEN jsonb_typeof(job) = 'object' THEN job - 'payload' = p_first ELSE false END) THEN array_agg((job -> 'payload')::text) END
  FROM jsonb_array_elements(p_jobs) job
$$;

-- An envelope as the stores know it: `NewJob` of the library in JSON.
CREATE OR REPLACE FUNCTION {v}.new_job(e jsonb, p_tenant text) RETURNS json
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  RETURN jsonb_build_object(
    'id', coalesce({v}.uuid_of(e ->> 'id'), {v}.mint({v}.clock(NULL))), 'id_is_producers', e ->> 'id' IS NOT NULL, 'kind', e -> 'kind', 'payload', e -> 'payload', 'queue', e -> 'queue',
    'tenant', p_tenant, 'priority', e -> 'priority', 'run_at', e -> 'run_at', 'delay_ms', coalesce((e ->> 'delay_ms')::bigint, 0), 'expires_at', e -> 'expires_at',
    'timeout_ms', e -> 'timeout_ms', 'max_attempts', e -> 'max_attempts', 'unique', {v}.unique_of(e), 'idempotency_key', e -> 'idempotency_key',
    'idempotency_ms', 86400000, 'concurrency_key', e -> 'concurrency_key', 'ordered', coalesce((e ->> 'ordered')::boolean, false), 'extra', {v}.extra_of(e, p_tenant));
END $$;

CREATE OR REPLACE FUNCTION {v}.unique_of(e jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE AS $$
BEGIN
  IF e ->> 'unique_key' IS NULL THEN
    RETURN NULL;
  END IF;
  -- Without a stated bound a steady stream of arrivals could put a job off for ever: ten quiet times, then it runs.
  RETURN jsonb_build_object('key', e -> 'unique_key', 'on_duplicate', coalesce(e ->> 'on_duplicate', 'return'),
    'held', coalesce('PT' || {v}.window_secs(e ->> 'unique_for') || 'S', e ->> 'unique_for', 'until_finished'),
    'debounce_max_ms', least(coalesce((e ->> 'debounce_max_ms')::bigint, coalesce((e ->> 'delay_ms')::bigint, 0) * 10), 316224000000));
END $$;

-- The rarely used members, kept together; follow-ups stay in the job's tenant.
CREATE OR REPLACE FUNCTION {v}.extra_of(e jsonb, p_tenant text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  x jsonb := '{}';
  v_member text;
BEGIN
  FOREACH v_member IN ARRAY ARRAY['tags', 'event_time', 'meta', 'on_success', 'on_failure', 'after', 'idempotency_key'] LOOP
    CONTINUE WHEN e ->> v_member IS NULL OR e -> v_member = '[]';
    x := x || jsonb_build_object(v_member, CASE
      WHEN v_member LIKE 'on\_%' THEN {v}.new_job(e -> v_member, p_tenant)::jsonb
      WHEN v_member = 'after' THEN (SELECT jsonb_agg({v}.uuid_of(a) ORDER BY n) FROM jsonb_array_elements_text(e -> 'after') WITH ORDINALITY u (a, n))
      ELSE e -> v_member END);
  END LOOP;
  RETURN x;
END $$;

-- What makes it the same body when the same id or key comes again: all that was said but the id.
CREATE OR REPLACE FUNCTION {v}.print_of(e jsonb) RETURNS bytea
LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN e ->> 'id' IS NOT NULL OR e ->> 'idempotency_key' IS NOT NULL THEN substr(sha256(convert_to((e - 'id')::text, 'UTF8')), 1, 16) END
$$;

-- The envelope as the caller may mean it: of its own tenant where it is bound to one (contract P12). `p_at` is where the
-- envelope stands in the call.
CREATE OR REPLACE FUNCTION {v}.bind(e jsonb, p_tenant text, p_at text) RETURNS jsonb
LANGUAGE plpgsql STABLE AS $$
DECLARE
  f {v}.fault;
BEGIN
  IF p_tenant IS NULL OR p_tenant = '*' OR jsonb_typeof(e) <> 'object' THEN
    RETURN e;
  ELSIF p_tenant = '' THEN
    f := (p_at, 'forbidden', 'the token names no tenant; put `tenant` into its claims, or its role into windlass.principals');
  ELSIF jsonb_typeof(e -> 'tenant') = 'string' AND e ->> 'tenant' <> p_tenant THEN
    f := (p_at || '/tenant', 'forbidden', format('this session acts for tenant `%s`; leave `tenant` out', left(p_tenant, 128)));
  ELSE
    RETURN CASE WHEN e ->> 'tenant' IS NULL THEN e || jsonb_build_object('tenant', p_tenant) ELSE e END;
  END IF;
  PERFORM {v}.refuse_envelopes(ARRAY[f]);
END $$;

-- Tells all that is wrong in one error; the SQLSTATE is the first one's code.
CREATE OR REPLACE FUNCTION {v}.refuse_envelopes(p_faults {v}.fault[]) RETURNS void
LANGUAGE plpgsql STABLE AS $$
DECLARE
  v_first text := p_faults[1].pointer || ': ' || p_faults[1].message;
BEGIN
  RAISE EXCEPTION USING
    ERRCODE = CASE p_faults[1].code WHEN 'too_large' THEN 'WLE01' WHEN 'unknown_member' THEN 'WLE02' WHEN 'wrong_type' THEN 'WLE03' WHEN 'bad_name' THEN 'WLE04'
      WHEN 'out_of_range' THEN 'WLE05' WHEN 'conflict' THEN 'WLE06' WHEN 'not_supported' THEN 'WLE07' ELSE 'insufficient_privilege' END,
    MESSAGE = CASE cardinality(p_faults) WHEN 1 THEN v_first
      ELSE format('%s items are invalid; nothing was written; the first is %s', cardinality(p_faults), v_first) END,
    DETAIL = (SELECT json_agg(json_build_object('pointer', f.pointer, 'code', f.code, 'message', f.message)) FROM unnest(p_faults) f)::text;
END $$;
