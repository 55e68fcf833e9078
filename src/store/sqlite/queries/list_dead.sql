SELECT id, kind, queue, tenant, priority, state, attempt, max_attempts, timeout_ms, created_at, run_at, expires_at, started_at, finished_at,
  concurrency_key, ordered, unique_key, deaths, holder, reason, payload, result, extra, attempts, checkpoint, NULL
FROM dead WHERE id < ?1 AND id >= ?2 ORDER BY id DESC
