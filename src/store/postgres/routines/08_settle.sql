-- The end of an attempt. No lock is taken but those of the jobs' own rows: what the queue must know, it is told.

-- Completions, the plain and the many, in the order of their claims: claim n has the items p_from[n] to p_to[n]. Answers which
-- were applied (by place in the batch, from 1).
CREATE OR REPLACE FUNCTION {v}.complete(p_epochs bigint[], p_nonces uuid[], p_from integer[], p_to integer[], p_ords integer[], p_ids uuid[], p_started bigint[], p_results text[], p_now bigint) RETURNS integer[]
LANGUAGE plpgsql VOLATILE SET plan_cache_mode = force_generic_plan SET jit = off SET lock_timeout = '2s' SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  v_now bigint := {v}.clock(p_now);
  v_applied integer[] := '{}';
  v_queues text[] := '{}';
  v_unusual windlass.jobs[];
  v_capped boolean := EXISTS (SELECT FROM windlass.rules WHERE tenant_concurrency IS NOT NULL OR concurrency IS NOT NULL);
  v_again boolean := false;
  j windlass.jobs;
  r record;
BEGIN
  LOOP
    WITH ended AS (
      DELETE FROM windlass.jobs t
      USING unnest(p_epochs, p_nonces, p_from, p_to) k (epoch, nonce, first, last)
        JOIN windlass.claims c ON c.epoch = k.epoch AND c.nonce = k.nonce
        CROSS JOIN LATERAL unnest(p_ords[k.first : k.last], p_ids[k.first : k.last], p_started[k.first : k.last]) WITH ORDINALITY u (u_ord, u_id, u_started, u_n)
        -- Where the row stands, whatever else is in the table: nothing moves it but VACUUM FULL and its like.
        CROSS JOIN LATERAL (SELECT CASE WHEN v_again OR c.tids IS NULL THEN (SELECT x.ctid FROM windlass.jobs x WHERE x.id = u.u_id) ELSE c.tids[u.u_ord] END AS place OFFSET 0) p
      WHERE t.ctid = p.place AND t.seq = c.seqs[u.u_ord] AND (t.id = u.u_id) IS TRUE
      RETURNING {job t}, c.holder AS c_holder, c.nonce AS c_nonce, c.epoch AS c_epoch, u.u_started, k.first + u.u_n::integer - 1 AS u_n),
    kept AS (
      INSERT INTO windlass.history ({past}, state, started_at, finished_at, holder, result)
      SELECT {past e attempt=e.attempt+1 settled_epoch=e.c_epoch settled_nonce=e.c_nonce checkpoint=NULL}, 'completed', e.u_started, v_now, e.c_holder, p_results[e.u_n] FROM ended e)
    SELECT array_agg(e.u_n) AS applied, array_agg(e.queue) AS queues,
      -- By name: the table may have columns that this release does not know.
      array_agg(jsonb_populate_record(NULL::windlass.jobs, to_jsonb(e))) FILTER (WHERE e.unique_key IS NOT NULL OR e.concurrency_key IS NOT NULL OR e.extra IS NOT NULL OR v_capped) AS unusual
    INTO r FROM ended e;
    v_applied := v_applied || r.applied;
    v_queues := v_queues || r.queues;
    v_unusual := v_unusual || r.unusual;
    EXIT WHEN v_again OR cardinality(v_applied) = cardinality(p_ids);
    -- Some were not where they stood: they were moved, or the lease is lost.
    v_again := true;
  END LOOP;
  INSERT INTO windlass.events (queue, what, gone, come, jobs) SELECT queue, 'c', 3, 5, count(*) FROM unnest(v_queues) queue GROUP BY queue;
  IF v_unusual IS NOT NULL THEN
    FOREACH j IN ARRAY v_unusual LOOP
      PERFORM {v}.leave_gate(j, 'completed', true);
      IF j.unique_key IS NOT NULL OR j.extra IS NOT NULL THEN
        PERFORM {v}.name_children(j, 'completed', ARRAY[{v}.finish(j, 'completed', v_now)], v_now);
      END IF;
    END LOOP;
    PERFORM {v}.wake();
  END IF;
  -- A later statement: those whose children came while their rows went are seen now, or see these gone.
  IF EXISTS (SELECT FROM windlass.dependencies) THEN
    PERFORM {v}.tell_children(p_ids[n]) FROM unnest(v_applied) n;
    PERFORM {v}.catch_up_told(v_now);
  END IF;
  RETURN v_applied;
END $$;

-- What hangs on an end beside the gate and those that wait for it; answers what stands for `on_success` or `on_failure`.
CREATE OR REPLACE FUNCTION {v}.finish(j windlass.jobs, p_to text, p_now bigint) RETURNS uuid
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  IF j.unique_key IS NOT NULL THEN
    DELETE FROM windlass.uniques WHERE tenant = coalesce(j.tenant, '') AND queue = j.queue AND key = j.unique_key AND id = j.id AND (held <> 'window' OR until <= p_now);
    IF NOT FOUND THEN
      UPDATE windlass.uniques SET live = false WHERE tenant = coalesce(j.tenant, '') AND queue = j.queue AND key = j.unique_key AND id = j.id AND live;
    END IF;
  END IF;
  IF j.extra IS NOT NULL THEN
    RETURN {v}.follow(j, p_to, p_now);
  END IF;
  RETURN NULL;
END $$;

-- Writes into a job that just came to stand as `p_to` which others it made.
CREATE OR REPLACE FUNCTION {v}.name_children(j windlass.jobs, p_to text, p_made uuid[], p_now bigint) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  IF array_remove(p_made, NULL) = '{}' THEN
    RETURN;
  END IF;
  j.extra := {v}.with_children(j.extra, p_made);
  CASE p_to
    WHEN 'completed', 'cancelled' THEN
      UPDATE windlass.history SET extra = j.extra WHERE id = j.id AND finished_at = p_now;
    WHEN 'dead' THEN
      UPDATE windlass.dead SET extra = j.extra WHERE id = j.id;
    WHEN 'queued' THEN
      UPDATE windlass.jobs SET extra = j.extra WHERE id = j.id;
    ELSE
      UPDATE windlass.waiting SET extra = j.extra WHERE id = j.id;
  END CASE;
END $$;

-- A job's `extra` with more children: each once, the newest last, the newest 100. All else stays as its text stands.
CREATE OR REPLACE FUNCTION {v}.with_children(p_extra text, p_made uuid[]) RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  v_children uuid[] := ARRAY(
    SELECT child FROM (
      SELECT child, min(n) AS place FROM unnest({v}.children(p_extra) || p_made) WITH ORDINALITY u (child, n)
      WHERE child IS NOT NULL GROUP BY child ORDER BY place DESC LIMIT 100) newest
    ORDER BY place);
BEGIN
  IF v_children = '{}' THEN
    RETURN p_extra;
  END IF;
  RETURN (
    SELECT '{' || string_agg(to_json(m.name)::text || ':' || m.value, ',' ORDER BY m.n) || '}' FROM (
      SELECT e.name, e.value::text AS value, e.n FROM json_each(coalesce(p_extra, '{}')::json) WITH ORDINALITY e (name, value, n)
      WHERE e.name <> 'children'
      UNION ALL SELECT 'children', to_json(v_children)::text, NULL) m);
END $$;

CREATE OR REPLACE FUNCTION {v}.children(p_extra text) RETURNS uuid[]
LANGUAGE sql IMMUTABLE AS $$
  SELECT ARRAY(SELECT child::uuid FROM json_array_elements_text(p_extra::json -> 'children') WITH ORDINALITY c (child, n) ORDER BY n)
$$;

-- A running job gave its slots back. `p_over`: it no longer holds up those behind it.
CREATE OR REPLACE FUNCTION {v}.leave_gate(j windlass.jobs, p_to text, p_over boolean) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  v_gate bigint;
BEGIN
  IF j.concurrency_key IS NOT NULL THEN
    DELETE FROM windlass.gate_leases WHERE id = j.id RETURNING gate INTO v_gate;
    INSERT INTO windlass.events (queue, what, jobs, line, id) VALUES (j.queue, 'g', 1, v_gate, CASE WHEN p_over THEN j.id END);
  END IF;
  IF j.tenant IS NOT NULL AND EXISTS (SELECT FROM windlass.rules WHERE queue IN (j.queue, '') AND tenant_concurrency IS NOT NULL) THEN
    INSERT INTO windlass.events (queue, what, jobs, tenant) VALUES (j.queue, 'o', 1, j.tenant);
  END IF;
END $$;

-- Any settlements, each an object: epoch, ord, id, nonce, started, verdict, and what the verdict takes. Answers per item
-- whether it was applied.
CREATE OR REPLACE FUNCTION {v}.settle(p_batch json[], p_now bigint) RETURNS boolean[]
LANGUAGE plpgsql VOLATILE SET plan_cache_mode = force_generic_plan SET jit = off SET lock_timeout = '2s' AS $$
DECLARE
  v_now bigint := {v}.clock(p_now);
  v_applied boolean[] := array_fill(false, ARRAY[array_length(p_batch, 1)]);
  r record;
BEGIN
  -- In the order of ids, so that two batches never wait for each other in a ring.
  FOR r IN SELECT item, n::integer FROM unnest(p_batch) WITH ORDINALITY b (item, n) ORDER BY item ->> 'id' COLLATE "C", n LOOP
    v_applied[r.n] := {v}.settle_one(r.item, v_now);
  END LOOP;
  PERFORM {v}.catch_up_told(v_now);
  PERFORM {v}.wake();
  RETURN v_applied;
END $$;

CREATE OR REPLACE FUNCTION {v}.settle_one(s json, p_now bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  j windlass.jobs;
  c windlass.claims;
  v_id uuid := (s ->> 'id')::uuid;
  v_epoch bigint := (s ->> 'epoch')::bigint;
  v_started bigint := (s ->> 'started')::bigint;
  v_verdict text := s ->> 'verdict';
  v_reason text := s ->> 'reason';
  v_at bigint := (s ->> 'at')::bigint;
  v_asked text;
  v_to text;
  v_charged boolean;
  v_made uuid[] := '{}';
  v_last uuid;
  f json;
  n integer := 0;
BEGIN
  SELECT * INTO c FROM windlass.claims WHERE epoch = v_epoch AND nonce = (s ->> 'nonce')::uuid;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  DELETE FROM windlass.jobs WHERE id = v_id AND seq = c.seqs[(s ->> 'ord')::integer] RETURNING * INTO j;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  DELETE FROM windlass.cancels WHERE id = v_id RETURNING reason INTO v_asked;
  IF v_asked IS NOT NULL AND v_verdict NOT IN ('completed', 'dead') THEN
    -- Whoever asked said why; a run that was stopped for it can only say that it was.
    v_verdict := 'cancelled';
    v_reason := v_asked;
  END IF;
  v_charged := v_verdict IN ('completed', 'retried', 'dead');
  IF v_verdict <> 'completed' THEN
    j.attempts := {v}.with_record(j.attempts, json_strip_nulls(json_build_object('number', j.attempt + 1, 'started_at', {v}.rfc3339(v_started),
      'ended_at', {v}.rfc3339(p_now), 'holder', c.holder, 'outcome', v_verdict, 'error', CASE WHEN v_verdict IN ('retried', 'dead', 'parked') THEN s -> 'error' END,
      'retry_at', CASE WHEN v_verdict = 'retried' THEN {v}.rfc3339(v_at) END)));
    j.checkpoint := coalesce((s -> 'checkpoint')::text, j.checkpoint);
  END IF;
  IF v_charged THEN
    j.attempt := j.attempt + 1;
  END IF;
  j.settled_epoch := v_epoch;
  j.settled_nonce := c.nonce;
  CASE v_verdict
    WHEN 'completed', 'cancelled' THEN
      v_to := v_verdict;
      IF v_to = 'completed' THEN
        j.checkpoint := NULL;
      END IF;
      INSERT INTO windlass.history ({past}, state, reason, started_at, finished_at, holder, result)
      SELECT {past j}, v_to, CASE WHEN v_to = 'cancelled' THEN v_reason END, v_started, p_now, c.holder, (s -> 'result')::text;
      INSERT INTO windlass.events (queue, what, gone, come, jobs) VALUES (j.queue, 'c', 3, CASE v_to WHEN 'completed' THEN 5 ELSE 6 END, 1);
    WHEN 'dead' THEN
      v_to := 'dead';
      INSERT INTO windlass.dead ({job}, reason, started_at, finished_at, holder, result)
      SELECT {job j}, v_reason, v_started, p_now, c.holder, (s -> 'result')::text;
      INSERT INTO windlass.events (queue, what, gone, come, jobs) VALUES (j.queue, 'c', 3, 7, 1);
    WHEN 'retried', 'snoozed' THEN
      v_to := 'scheduled';
      j.run_at := v_at;
      INSERT INTO windlass.waiting ({job}, state) SELECT {job j}, 'scheduled';
      INSERT INTO windlass.events (queue, what, gone, come, jobs, at) VALUES (j.queue, 'c', 3, 1, 1, v_at);
    WHEN 'parked' THEN
      v_to := 'parked';
      INSERT INTO windlass.waiting ({job}, state, reason, park_until, token) SELECT {job j}, 'parked', v_reason, v_at, s ->> 'token';
      INSERT INTO windlass.events (queue, what, gone, come, jobs, at) VALUES (j.queue, 'c', 3, 4, 1, v_at);
    WHEN 'released' THEN
      v_to := 'queued';
      PERFORM {v}.give_back(j, 'r', p_now);
  END CASE;
  IF v_to <> 'queued' THEN
    PERFORM {v}.leave_gate(j, v_to, v_to IN ('completed', 'cancelled', 'dead') OR ({v}.rules(j.queue)).skips_heads);
  END IF;
  IF v_to IN ('completed', 'cancelled', 'dead') THEN
    v_last := {v}.finish(j, v_to, p_now);
    PERFORM {v}.tell_children(j.id);
  END IF;
  FOR f IN SELECT * FROM json_array_elements(s -> 'usage') LOOP
    INSERT INTO windlass.usage VALUES (j.id, v_epoch, n, j.tenant, p_now, f::text) ON CONFLICT DO NOTHING;
    n := n + 1;
  END LOOP;
  FOR f IN SELECT * FROM json_array_elements(s -> 'effects') LOOP
    PERFORM {v}.apply_effect(f, j.id, coalesce(j.tenant, ''), p_now);
  END LOOP;
  FOR f IN SELECT * FROM json_array_elements(s -> 'follow_ups') LOOP
    v_made := v_made || {v}.follow_up(f, j.id, j.tenant, false, p_now);
  END LOOP;
  IF v_last IS NOT NULL OR v_made <> '{}' THEN
    PERFORM {v}.name_children(j, v_to, v_made || v_last, p_now);
  END IF;
  IF v_to = 'scheduled' OR json_array_length(s -> 'follow_ups') > 0 OR j.concurrency_key IS NOT NULL THEN
    PERFORM {v}.wake();
  END IF;
  RETURN true;
END $$;

-- A running job whose row was just taken out goes back to the head of its line, under a new number: no lease knows that one.
CREATE OR REPLACE FUNCTION {v}.give_back(j windlass.jobs, p_what "char", p_now bigint) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  v_gate bigint;
BEGIN
  DELETE FROM windlass.gate_leases WHERE id = j.id RETURNING gate INTO v_gate;
  j.seq := {v}.next_seq();
  j.special := true;
  INSERT INTO windlass.jobs ({job}) SELECT {job j};
  INSERT INTO windlass.events (queue, what, gone, come, jobs, id, line, first) VALUES (j.queue, p_what, 3, 2, 1, j.id, v_gate, j.pos);
  IF j.tenant IS NOT NULL AND EXISTS (SELECT FROM windlass.rules WHERE queue IN (j.queue, '') AND tenant_concurrency IS NOT NULL) THEN
    INSERT INTO windlass.events (queue, what, jobs, tenant) VALUES (j.queue, 'o', 1, j.tenant);
  END IF;
END $$;

CREATE OR REPLACE FUNCTION {v}.apply_effect(p_effect json, p_job uuid, p_tenant text, p_now bigint) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  r json := p_effect -> 'put_record';
  s json := p_effect -> 'record_send';
  c json := p_effect -> 'put_cache';
BEGIN
  IF r IS NOT NULL THEN
    INSERT INTO windlass.records VALUES (p_tenant, r ->> 'collection', r ->> 'key', (r -> 'value')::text, {v}.instant(r ->> 'event_time'), p_job, p_now)
    ON CONFLICT (tenant, collection, key) DO UPDATE SET value = excluded.value, event_time = excluded.event_time, job = excluded.job, at = excluded.at
      -- An older event never overwrites a newer one.
      WHERE excluded.event_time IS NULL OR records.event_time IS NULL OR excluded.event_time >= records.event_time;
  ELSIF s IS NOT NULL THEN
    INSERT INTO windlass.sends VALUES (p_tenant, s ->> 'channel', s ->> 'key', s ->> 'provider_id', p_job, p_now)
    ON CONFLICT (tenant, channel, key) DO UPDATE SET provider_id = excluded.provider_id, job = excluded.job, at = excluded.at;
  ELSIF c IS NOT NULL THEN
    INSERT INTO windlass.cache VALUES (p_tenant, c ->> 'key', (c -> 'value')::text, {v}.plus_ms(p_now, (c ->> 'ttl_ms')::bigint))
    ON CONFLICT (tenant, key) DO UPDATE SET value = excluded.value, until = excluded.until;
  END IF;
END $$;

-- Claims of which nothing runs any more. The daemon names those whose last lease it saw end.
CREATE OR REPLACE FUNCTION {v}.drop_claims(p_epochs bigint[]) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  DELETE FROM windlass.claims WHERE epoch = ANY (p_epochs);
END $$;

-- Whether a settlement that found no lease was itself the one that ended it, per item.
CREATE OR REPLACE FUNCTION {v}.settled_before(p_ids uuid[], p_epochs bigint[], p_nonces uuid[]) RETURNS boolean[]
LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN (
    SELECT array_agg(
      EXISTS (SELECT FROM windlass.jobs    t WHERE t.id = u.id AND t.settled_epoch = u.epoch AND t.settled_nonce = u.nonce)
      OR EXISTS (SELECT FROM windlass.waiting t WHERE t.id = u.id AND t.settled_epoch = u.epoch AND t.settled_nonce = u.nonce)
      OR EXISTS (SELECT FROM windlass.dead    t WHERE t.id = u.id AND t.settled_epoch = u.epoch AND t.settled_nonce = u.nonce)
      OR EXISTS (SELECT FROM windlass.history t WHERE t.id = u.id AND t.settled_epoch = u.epoch AND t.settled_nonce = u.nonce) ORDER BY n)
    FROM unnest(p_ids, p_epochs, p_nonces) WITH ORDINALITY u (id, epoch, nonce, n));
END $$;
