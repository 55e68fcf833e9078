-- Tells that a worker lives. $1 the worker, $2 its queue, $3 seconds that its word is good for.
INSERT INTO apalis.workers AS w (id, worker_type, storage_name, layers, last_seen, started_at)
VALUES ($1, $2, 'PostgresStorage', 'windlass', now() + make_interval(secs => $3), now())
ON CONFLICT (id) DO UPDATE SET last_seen = excluded.last_seen
