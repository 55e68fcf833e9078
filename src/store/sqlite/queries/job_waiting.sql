SELECT id, kind, queue, tenant, priority, state, run_at, expires_at, pos, line, gate, ordered, unique_key IS NOT NULL, extra FROM jobs WHERE seq = ?1
