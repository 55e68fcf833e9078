INSERT INTO jobs (seq, id, kind, queue, tenant, priority, state, attempt, max_attempts, timeout_ms, created_at, run_at, expires_at, pos,
  line, gate, concurrency_key, ordered, unique_key, unique_for, fingerprint, park_until, reason, payload, extra)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24)
