-- The key and how long it is held stay as they are: that is what makes it the same job.
UPDATE jobs SET kind = ?2, priority = ?3, state = ?4, max_attempts = ?5, timeout_ms = ?6, run_at = ?7, expires_at = ?8, pos = ?9, line = ?10,
  gate = ?11, concurrency_key = ?12, ordered = ?13, park_until = ?14, reason = ?15, payload = ?16, extra = ?17
WHERE seq = ?1
