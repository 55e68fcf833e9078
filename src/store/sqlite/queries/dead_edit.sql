UPDATE dead SET payload = coalesce(?2, payload), priority = coalesce(?3, priority), max_attempts = coalesce(?4, max_attempts), timeout_ms = coalesce(?5, timeout_ms)
WHERE id = ?1
