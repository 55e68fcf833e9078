-- Marks tasks as running. $1 this worker, $2 the tasks.
UPDATE apalis.jobs SET status = 'Running', lock_at = now()
WHERE lock_by = $1 AND status = 'Queued' AND id = ANY($2)
