SELECT seq FROM jobs WHERE token = ?1 AND state = 'parked'
