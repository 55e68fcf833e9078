-- What this worker holds, a page. $1 the worker, $2 the last id of the page before, $3 how many. A payload is read only where the task
-- may have to be enqueued.
SELECT id, status, octet_length(job)::bigint AS bytes, CASE WHEN status = 'Queued' THEN job END AS payload,
  attempts, max_attempts, priority, idempotency_key
FROM apalis.jobs
WHERE lock_by = $1 AND status IN ('Queued', 'Running') AND id > $2
ORDER BY id
LIMIT $3
