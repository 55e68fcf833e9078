SELECT at, by, reason, until FROM pauses WHERE queue = ?1 AND (until IS NULL OR until > ?2)
