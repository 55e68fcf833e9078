SELECT tenant, waiting, vtime, closed FROM lines WHERE line = ?1
