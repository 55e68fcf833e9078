-- Takes over what silent workers of the same bridge hold; answers how many tasks.
-- $1 this worker, $2 its queue, $3 what the names of the bridge's workers begin with, $4 seconds beyond now of a word that is too old.
WITH silent AS (
  SELECT id FROM apalis.workers
  WHERE worker_type = $2 AND starts_with(id, $3) AND id <> $1
    AND last_seen <= now() + make_interval(secs => $4)
    -- Those that have nothing left: finished rows go on naming them, so they stay.
    AND last_seen > 'epoch'
  FOR UPDATE SKIP LOCKED
), emptied AS (
  UPDATE apalis.workers w SET last_seen = 'epoch' FROM silent s WHERE w.id = s.id
), moved AS (
  UPDATE apalis.jobs j SET lock_by = $1, lock_at = now()
  FROM silent s
  WHERE j.lock_by = s.id AND j.status IN ('Queued', 'Running')
  RETURNING 1
)
SELECT count(*) FROM moved
