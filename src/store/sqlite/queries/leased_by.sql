SELECT l.pos, l.seq, l.gate, j.id, j.kind, j.tenant, j.payload, j.attempt, j.max_attempts, j.timeout_ms, j.created_at, j.expires_at,
  j.concurrency_key, j.extra, j.checkpoint, j.unique_key, j.ordered, l.line, l.epoch, c.granted_at, j.attempts IS NULL, j.run_at
FROM claims c JOIN leases l ON l.epoch = c.epoch JOIN jobs j ON j.seq = l.seq
WHERE c.nonce = ?1
