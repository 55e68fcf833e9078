SELECT jobs FROM counts WHERE queue = ?1 AND state = 'running'
