SELECT 1 FROM pauses WHERE queue = ?1
