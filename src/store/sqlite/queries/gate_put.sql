UPDATE gates SET head = ?2, tat = ?3, opens_at = ?4, waiting = ?5 WHERE gate = ?1
