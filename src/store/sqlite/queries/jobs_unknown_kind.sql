SELECT seq FROM jobs WHERE kind = ?1 AND state = 'parked' AND reason = 'unknown_kind' LIMIT ?2
