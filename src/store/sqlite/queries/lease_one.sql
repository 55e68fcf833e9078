SELECT j.pos, j.seq, j.gate, j.id, j.kind, j.tenant, j.payload, j.attempt, j.max_attempts, j.timeout_ms, j.created_at, j.expires_at,
  j.concurrency_key, j.extra, j.checkpoint, j.unique_key, j.ordered, NULL, NULL, NULL, j.attempts IS NULL, j.run_at
FROM jobs j WHERE j.seq = ?1
