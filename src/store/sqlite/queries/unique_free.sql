DELETE FROM uniques WHERE tenant = ?1 AND queue = ?2 AND key = ?3 AND id = ?4 AND (held <> 'window' OR until <= ?5)
