SELECT queue, at, by, reason, until FROM pauses WHERE until IS NULL OR until > ?1
