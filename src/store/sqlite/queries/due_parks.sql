SELECT seq FROM jobs WHERE state = 'parked' AND park_until <= ?1 ORDER BY park_until LIMIT ?2
