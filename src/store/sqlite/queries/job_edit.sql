UPDATE jobs SET payload = coalesce(?2, payload), priority = coalesce(?3, priority), run_at = coalesce(?4, run_at),
  max_attempts = coalesce(?5, max_attempts), timeout_ms = coalesce(?6, timeout_ms)
WHERE seq = ?1
