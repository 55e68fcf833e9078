-- Tables that a crash of the server empties.
SELECT c.relname::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'windlass' AND c.relkind = 'r' AND c.relpersistence = 'u'
ORDER BY c.relname LIMIT 10
