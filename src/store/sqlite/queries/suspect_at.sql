SELECT 1 FROM suspects WHERE queue = ?1 AND pos = ?2
