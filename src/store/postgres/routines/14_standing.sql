-- What holds one job back: the facts, a bounded number of rows.

-- As JSON of `job::Standing`. What could be many is counted up to `p_most`.
CREATE OR REPLACE FUNCTION {v}.standing(p_id uuid, p_queue text, p_most integer, p_lines integer, p_shown integer, p_now bigint) RETURNS jsonb
LANGUAGE plpgsql STABLE SET jit = off SET enable_bitmapscan = off SET enable_seqscan = off AS $$
DECLARE
  v_now bigint := {v}.clock(p_now);
  j windlass.jobs;
  w windlass.waiting;
  c windlass.claims;
  q windlass.queues;
  r windlass.rules := {v}.rules(p_queue);
  s windlass.stands;
  v jsonb := '{}';
BEGIN
  SELECT * INTO q FROM windlass.queues WHERE queue = p_queue ORDER BY n DESC LIMIT 1;
  SELECT * INTO j FROM windlass.jobs WHERE id = p_id;
  SELECT * INTO s FROM windlass.stands WHERE id = p_id;
  SELECT * INTO c FROM windlass.claims WHERE line = j.line AND j.seq = ANY (seqs) LIMIT 1;
  SELECT * INTO w FROM windlass.waiting WHERE id = p_id;
  IF j.id IS NULL AND w.id IS NOT NULL THEN
    v := jsonb_build_object('parents', {v}.parents_of(w.id, w.tenant), 'awaits_answer', w.token IS NOT NULL);
  ELSIF c.epoch IS NOT NULL THEN
    v := jsonb_build_object('place', 'lease', 'lease', jsonb_build_object(
      'until', greatest(c.until, (SELECT until FROM windlass.holders WHERE holder = c.holder)),
      'cancel', (SELECT reason FROM windlass.cancels WHERE id = j.id AND epoch = c.epoch)));
  ELSIF s.what IN ('g', 's') THEN
    v := jsonb_build_object('place', CASE s.what WHEN 'g' THEN 'gate' ELSE 'alone' END);
  ELSIF j.id IS NOT NULL THEN
    v := jsonb_build_object('place', 'line', 'before', {v}.before(q, r, j, p_most, p_lines));
  ELSE
    v := jsonb_build_object('unique_holder', (
      SELECT u.id FROM windlass.dead d JOIN windlass.uniques u ON u.tenant = coalesce(d.tenant, '') AND u.queue = d.queue AND u.key = d.unique_key
      WHERE d.id = p_id AND u.id <> d.id AND (u.live OR u.until > v_now)));
  END IF;
  IF j.concurrency_key IS NOT NULL THEN
    v := v || jsonb_build_object('key', {v}.key_use(r, j, s, p_most, p_shown, v_now));
  END IF;
  IF r.tenant_concurrency IS NOT NULL AND ({v}.line(j.line)).closed THEN
    v := v || jsonb_build_object('tenant_full', r.tenant_concurrency);
  END IF;
  RETURN v || jsonb_build_object('now', v_now,
    'queue', jsonb_build_object('running', coalesce(({v}.counts(q, p_queue))[3], 0), 'slots', r.concurrency,
      'rate_opens_at', CASE WHEN r.rate_interval IS NOT NULL THEN {v}.rate_opens(r.rate_interval, r.rate_burst, {v}.rate_keeps(r.rate_interval, r.rate_burst, coalesce(q.tat, 0), v_now)) END));
END $$;

-- Each parent that is still waited for, with its state.
CREATE OR REPLACE FUNCTION {v}.parents_of(p_child uuid, p_tenant text) RETURNS jsonb
LANGUAGE sql STABLE AS $$
  SELECT coalesce(jsonb_agg(jsonb_build_object('id', d.parent, 'state', coalesce(
    (SELECT w.state FROM windlass.waiting w WHERE w.id = d.parent AND w.tenant IS NOT DISTINCT FROM p_tenant),
    (SELECT CASE WHEN {v}.is_running(j.line, j.seq, j.id) THEN 'running' ELSE 'queued' END FROM windlass.jobs j WHERE j.id = d.parent AND j.tenant IS NOT DISTINCT FROM p_tenant),
    {v}.parent_state(d.parent, p_tenant))) ORDER BY d.parent), '[]')
  FROM windlass.dependencies d WHERE d.child = p_child
$$;

-- Who is served before a job that stands in its line.
CREATE OR REPLACE FUNCTION {v}.before(q windlass.queues, r windlass.rules, j windlass.jobs, p_most integer, p_lines integer) RETURNS jsonb
LANGUAGE plpgsql STABLE SET enable_bitmapscan = off SET enable_seqscan = off AS $$
DECLARE
  l windlass.lines := {v}.line(j.line);
  v_line bigint;
  v_urgent bigint;
  v_others jsonb;
BEGIN
  SELECT (SELECT count(*) FROM (SELECT FROM windlass.jobs WHERE line = j.line AND seq > coalesce(l.cursor, 0) AND seq < j.pos AND NOT special ORDER BY seq LIMIT p_most + 1) a)
    + (SELECT count(*) FROM (SELECT FROM windlass.stands WHERE line = j.line AND what = 'h' AND pos < j.pos LIMIT p_most + 1) b) INTO v_line;
  SELECT coalesce(sum(waiting), 0) INTO v_urgent FROM (
    SELECT waiting FROM windlass.lines WHERE queue = j.queue AND priority < j.priority AND waiting > 0 AND NOT closed LIMIT p_lines) a;
  SELECT jsonb_agg(jsonb_build_object('waiting', waiting, 'vtime', vtime, 'step', {v}.step(r, lane))) INTO v_others FROM (
    SELECT * FROM windlass.lines
    WHERE queue = j.queue AND priority = j.priority AND waiting > 0 AND NOT closed AND vtime >= coalesce(q.clocks[j.priority + 1], 0) AND line <> j.line
    ORDER BY vtime, line LIMIT p_lines + 1) a;
  RETURN jsonb_build_object('line', v_line, 'urgent', v_urgent, 'others', coalesce(v_others, '[]'), 'is_cut', coalesce(jsonb_array_length(v_others), 0) > p_lines,
    'own', jsonb_build_object('waiting', coalesce(l.waiting, 0), 'vtime', greatest(coalesce(l.vtime, 0), coalesce(q.clocks[j.priority + 1], 0)), 'step', {v}.step(r, coalesce(l.lane, ''))));
END $$;

-- How a job's key is used, and how many stand behind its gate before it.
CREATE OR REPLACE FUNCTION {v}.key_use(r windlass.rules, j windlass.jobs, s windlass.stands, p_most integer, p_shown integer, p_now bigint) RETURNS jsonb
LANGUAGE plpgsql STABLE SET enable_bitmapscan = off SET enable_seqscan = off AS $$
DECLARE
  g windlass.gates;
  v_tat bigint;
  v_opens bigint;
BEGIN
  SELECT * INTO g FROM windlass.gates WHERE queue = j.queue AND key = {v}.gate_key(j.tenant, j.concurrency_key);
  IF r.key_interval IS NOT NULL THEN
    -- As it will be opened by the rate of now: what a slower one has left behind is looked at again with the next lease.
    v_tat := {v}.rate_keeps(r.key_interval, r.key_burst, coalesce(g.tat, 0), p_now);
    v_opens := {v}.rate_opens(r.key_interval, r.key_burst, v_tat);
    IF g.opens_at > v_opens THEN
      v_opens := least(g.opens_at, v_opens + r.key_interval
        * (SELECT count(*) FROM (SELECT FROM windlass.stands WHERE what = 'h' AND gate = g.gate LIMIT 100) b));
    END IF;
  END IF;
  RETURN jsonb_build_object(
    'slots', greatest(r.key_concurrency, 1), 'head', g.head,
    'running', (SELECT count(*) FROM (SELECT FROM windlass.gate_leases WHERE gate = g.gate LIMIT p_most + 1) a),
    'holders', coalesce((SELECT jsonb_agg(id) FROM (SELECT id FROM windlass.gate_leases WHERE gate = g.gate LIMIT p_shown) a), '[]'),
    'rate_opens_at', v_opens,
    'before', CASE WHEN s.what = 'g' THEN (
      SELECT count(*) FROM (SELECT FROM windlass.stands WHERE gate = g.gate AND what = 'g' AND behind = s.behind AND (rank, pos) < (s.rank, s.pos) LIMIT p_most + 1) a) ELSE 0 END);
END $$;

DROP FUNCTION IF EXISTS {v}.key_use(windlass.rules, windlass.jobs, windlass.stands, integer, integer);
