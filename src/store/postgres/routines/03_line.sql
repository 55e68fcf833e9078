-- Lines: found and made, joined and left.

CREATE OR REPLACE FUNCTION {v}.line(p_line bigint) RETURNS windlass.lines
LANGUAGE plpgsql STABLE AS $$
DECLARE
  v_row windlass.lines;
BEGIN
  SELECT * INTO v_row FROM windlass.lines WHERE line = p_line ORDER BY n DESC LIMIT 1;
  RETURN v_row;
END $$;

-- A line that nobody has read yet; what it is called is told by one of its jobs.
CREATE OR REPLACE FUNCTION {v}.new_line(p_line bigint, p_seq bigint) RETURNS windlass.lines
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  j record;
BEGIN
  SELECT queue, priority, tenant INTO j FROM windlass.jobs WHERE line = p_line AND seq >= p_seq AND NOT special ORDER BY seq LIMIT 1;
  RETURN {v}.make_line(j.queue, j.priority, CASE WHEN {v}.line_of(j.queue, j.priority, '') = p_line THEN '' ELSE j.tenant END);
END $$;

CREATE OR REPLACE FUNCTION {v}.make_line(p_queue text, p_priority smallint, p_lane text) RETURNS windlass.lines
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  l windlass.lines;
  v_line bigint := {v}.line_of(p_queue, p_priority, p_lane);
BEGIN
  l := {v}.line(v_line);
  IF l.line IS NULL THEN
    INSERT INTO windlass.lines VALUES (v_line, 1, p_queue, p_priority, p_lane, 0, 0, 0, 0, false) RETURNING * INTO l;
  END IF;
  RETURN l;
END $$;

-- `p_jobs` more stand in the line (or fewer), `p_heads` of them before its cursor. A line that stops being empty joins at
-- the queue's virtual time: it claims nothing for the time it was away, and owes nothing to those who were served meanwhile.
CREATE OR REPLACE FUNCTION {v}.line_waits(q windlass.queues, l windlass.lines, p_jobs bigint, p_heads bigint) RETURNS windlass.queues
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  UPDATE windlass.lines SET n = n + 1, waiting = waiting + p_jobs, heads = heads + p_heads,
    vtime = CASE WHEN waiting = 0 THEN greatest(vtime, q.clocks[l.priority + 1]) ELSE vtime END
  WHERE line = l.line AND n = l.n;
  q.lined[l.priority + 1] := q.lined[l.priority + 1] + p_jobs;
  RETURN q;
END $$;

-- A tenant may have a slot free again.
CREATE OR REPLACE FUNCTION {v}.open_lines(q windlass.queues, p_lane text) RETURNS windlass.queues
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  UPDATE windlass.lines SET n = n + 1, closed = false, vtime = greatest(vtime, q.clocks[priority + 1])
  WHERE queue = q.queue AND lane = p_lane AND closed;
  RETURN q;
END $$;
