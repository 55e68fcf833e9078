UPDATE lines SET vtime = ?2 WHERE line = ?1
