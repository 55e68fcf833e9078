-- Windlass on Postgres, schema 3: an attempt's end finds the job's row where it stands, however many others there are.

-- Of plain jobs, in the order of `seqs`; true as long as nobody moves rows, as VACUUM FULL does. NULL in what an older daemon granted.
ALTER TABLE windlass.claims ADD COLUMN tids tid[];
-- Read element by element: it must stay as it is, in its row.
ALTER TABLE windlass.claims ALTER tids SET STORAGE PLAIN;
