SELECT id, held, until, live, first_at FROM uniques WHERE tenant = ?1 AND queue = ?2 AND key = ?3
