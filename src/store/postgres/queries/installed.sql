SELECT to_regclass('windlass.routines') IS NOT NULL, to_regprocedure('windlass_v1.clock(bigint)') IS NOT NULL
