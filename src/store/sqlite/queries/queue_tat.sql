SELECT tat FROM queue_limits WHERE queue = ?1
