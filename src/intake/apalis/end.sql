-- Ends tasks that this worker still holds, with what a stock producer that waits for them reads.
-- $1 this worker; then for each its id, its status, its attempts, its result as JSON.
UPDATE apalis.jobs j SET status = e.status, attempts = e.attempts, last_result = e.result::jsonb, done_at = now()
FROM unnest($2::text[], $3::text[], $4::int[], $5::text[]) AS e (id, status, attempts, result)
WHERE j.id = e.id AND j.lock_by = $1 AND j.status IN ('Queued', 'Running')
