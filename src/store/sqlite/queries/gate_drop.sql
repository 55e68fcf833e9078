DELETE FROM gates WHERE gate = ?1
