UPDATE jobs SET kind = ?2, priority = ?3, state = ?4, max_attempts = ?5, timeout_ms = ?6, run_at = ?7, expires_at = ?8, pos = ?9,
  gate = ?10, concurrency_key = ?11, ordered = ?12, payload = ?13, extra = ?14
WHERE seq = ?1
