-- The payload never leaves the database on its way into history. OR FAIL: one row is all or nothing anyway, and SQLite need
-- not keep a journal of its own to undo this one statement, which cost a sixth of the writer's time.
INSERT OR FAIL INTO history (id, kind, queue, tenant, priority, state, attempt, max_attempts, timeout_ms, created_at, run_at, expires_at, started_at, finished_at,
  concurrency_key, ordered, unique_key, fingerprint, deaths, reason, holder, settled_epoch, settled_nonce, payload, result, extra, checkpoint, attempts)
SELECT id, kind, queue, tenant, priority, 'completed', attempt + 1, max_attempts, timeout_ms, created_at, run_at, expires_at, ?2, ?3,
  concurrency_key, ordered, unique_key, fingerprint, deaths, NULL, ?4, ?5, ?6, payload, ?7, extra, NULL, attempts
FROM jobs WHERE seq = ?1
