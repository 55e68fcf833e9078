-- Windlass on Postgres, schema 5: what the doors know now.
ALTER TABLE windlass.installation DROP COLUMN kinds, DROP COLUMN unfair;
