INSERT INTO dead (id, kind, queue, tenant, priority, state, attempt, max_attempts, timeout_ms, created_at, run_at, expires_at, started_at, finished_at,
  concurrency_key, ordered, unique_key, unique_for, fingerprint, deaths, reason, holder, settled_epoch, settled_nonce, payload, result, extra, checkpoint, attempts)
SELECT id, kind, queue, tenant, priority, ?2, attempt, max_attempts, timeout_ms, created_at, run_at, expires_at, ?4, ?5,
  concurrency_key, ordered, unique_key, unique_for, fingerprint, deaths, ?3, ?6, settled_epoch, settled_nonce, payload, ?7, extra, checkpoint, attempts
FROM jobs WHERE seq = ?1
