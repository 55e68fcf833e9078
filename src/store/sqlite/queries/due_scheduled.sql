SELECT seq FROM jobs WHERE state = 'scheduled' AND run_at <= ?1 ORDER BY run_at, seq LIMIT ?2
