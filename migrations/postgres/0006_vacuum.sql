-- Windlass on Postgres, schema 6: a vacuum reads whole indexes, so the more rows wait, the more of them end between two.
ALTER TABLE windlass.jobs SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.1);
ALTER TABLE windlass.stands SET (autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE windlass.gates SET (autovacuum_vacuum_scale_factor = 0.05);
