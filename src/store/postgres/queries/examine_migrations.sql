SELECT (SELECT coalesce(array_agg(version::bigint ORDER BY version), '{}') FROM windlass.migrations),
  (SELECT coalesce(array_agg(release || ' ' || digest), '{}') FROM windlass.routines)
