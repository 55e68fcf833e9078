SELECT 1 FROM jobs    WHERE id = ?1 AND settled_epoch = ?2 AND settled_nonce = ?3
UNION ALL SELECT 1 FROM history WHERE id = ?1 AND settled_epoch = ?2 AND settled_nonce = ?3
UNION ALL SELECT 1 FROM dead    WHERE id = ?1 AND settled_epoch = ?2 AND settled_nonce = ?3
LIMIT 1
