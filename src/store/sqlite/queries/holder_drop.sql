DELETE FROM holders WHERE holder = ?1
