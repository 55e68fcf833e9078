-- By the id alone, since the key may be what cannot be read; a walk over all keys, for damage only.
DELETE FROM uniques WHERE id = ?1
