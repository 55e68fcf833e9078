SELECT value FROM records WHERE tenant = ?1 AND collection = ?2 AND key = ?3
