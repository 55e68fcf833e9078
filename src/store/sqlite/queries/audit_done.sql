SELECT 1 FROM audit WHERE op_id = ?1
