DELETE FROM claims WHERE epoch = ?1 AND live <= ?2
