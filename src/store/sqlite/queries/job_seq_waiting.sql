SELECT seq FROM jobs WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM leases l WHERE l.seq = jobs.seq)
