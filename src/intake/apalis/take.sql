-- Takes due tasks as `apalis.get_jobs` does: they are queued for this worker.
-- $1 the worker, $2 the queue, $3 how many at most, $4 bytes of all payloads together, $5 of one, $6 as much as is read of a longer one.
WITH due AS (
  SELECT id, priority, run_at, octet_length(job)::bigint AS bytes
  FROM apalis.jobs
  WHERE job_type = $2 AND run_at <= now()
    -- As the partial index has it.
    AND (status = 'Pending' OR (status = 'Failed' AND attempts < max_attempts))
  ORDER BY priority DESC, run_at
  LIMIT $3
  FOR UPDATE SKIP LOCKED
), measured AS (
  SELECT id, sum(bytes) OVER (ORDER BY priority DESC, run_at, id) - bytes AS before FROM due
), taken AS (
  UPDATE apalis.jobs j SET status = 'Queued', lock_by = $1, lock_at = now()
  FROM measured m
  WHERE j.id = m.id AND m.before < $4
  RETURNING j.id, j.job, j.attempts, j.max_attempts, j.priority, j.run_at, j.idempotency_key
)
SELECT id, octet_length(job)::bigint AS bytes, CASE WHEN octet_length(job) > $5 THEN substr(job, 1, $6::int) ELSE job END AS payload,
  attempts, max_attempts, priority, idempotency_key
FROM taken
ORDER BY priority DESC, run_at, id
