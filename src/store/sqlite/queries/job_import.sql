INSERT INTO jobs (seq, id, kind, queue, tenant, priority, state, attempt, max_attempts, timeout_ms, created_at, run_at, expires_at,
  gate, concurrency_key, ordered, unique_key, deaths, reason, payload, extra, checkpoint, attempts, park_until, token, fingerprint, unique_for)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27)
