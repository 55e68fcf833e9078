SELECT queue, priority, tenant FROM lines WHERE line = ?1
