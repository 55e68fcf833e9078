-- As in orphans_all: what remote workers hold lasts on.
DELETE FROM holders WHERE NOT EXISTS (SELECT 1 FROM daemons d WHERE d.holder = holders.holder AND CASE WHEN json_valid(d.daemon) THEN d.daemon ->> 'remote' END)
