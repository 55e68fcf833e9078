UPDATE claims SET live = live - ?2 WHERE epoch = ?1
