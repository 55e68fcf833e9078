SELECT current_user::text, coalesce(pg_has_role(to_regrole('windlass_daemon')::oid, 'USAGE'), false)
