DELETE FROM holders WHERE until < ?1 AND NOT EXISTS (SELECT 1 FROM claims c WHERE c.holder = holders.holder)
