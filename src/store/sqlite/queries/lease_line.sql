-- The head of one line. The right join: a row of the line whose job is gone or damaged must be seen, or it would stay for ever.
SELECT w.pos, w.seq, w.gate, j.id, j.kind, j.tenant, j.payload, j.attempt, j.max_attempts, j.timeout_ms, j.created_at, j.expires_at,
  j.concurrency_key, j.extra, j.checkpoint, j.unique_key, j.ordered, w.line, NULL, NULL, j.attempts IS NULL, j.run_at
FROM line_jobs w LEFT JOIN jobs j ON j.seq = w.seq
WHERE w.line = ?1 ORDER BY w.pos LIMIT ?2
