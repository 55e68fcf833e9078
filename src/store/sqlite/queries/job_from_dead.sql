-- The attempts are counted anew; their records stay.
INSERT INTO jobs (seq, id, kind, queue, tenant, priority, state, attempt, max_attempts, timeout_ms, created_at, run_at, expires_at, pos,
  concurrency_key, ordered, unique_key, unique_for, fingerprint, settled_epoch, settled_nonce, payload, extra, checkpoint, attempts)
SELECT ?1, id, kind, queue, tenant, priority, 'queued', 0, max_attempts, timeout_ms, created_at, ?3, NULL, ?1,
  concurrency_key, ordered, unique_key, unique_for, fingerprint, settled_epoch, settled_nonce, payload, extra, checkpoint, attempts
FROM dead WHERE id = ?2
