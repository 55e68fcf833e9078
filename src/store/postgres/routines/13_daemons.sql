-- Who works on what.

-- A daemon says how it is; who fell silent long ago is told of no more.
CREATE OR REPLACE FUNCTION {v}.announce(p_holder uuid, p_daemon text, p_lasts_us bigint, p_silent_us bigint, p_now bigint) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  v_now bigint := {v}.clock(p_now);
BEGIN
  INSERT INTO windlass.daemons VALUES (p_holder, p_daemon, v_now, v_now + p_lasts_us)
  ON CONFLICT (holder) DO UPDATE SET daemon = excluded.daemon, seen_at = excluded.seen_at, until = excluded.until;
  DELETE FROM windlass.daemons WHERE until < v_now - p_silent_us;
END $$;

-- The holder ends in order. Its row goes when nothing is left to take back: a lease call whose answer was lost may have granted something.
CREATE OR REPLACE FUNCTION {v}.goodbye(p_holder uuid) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  DELETE FROM windlass.daemons WHERE holder = p_holder;
  UPDATE windlass.holders SET until = 0, node = NULL WHERE holder = p_holder;
END $$;
