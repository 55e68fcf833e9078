UPDATE leases SET cancel = ?2 WHERE seq = (SELECT seq FROM jobs WHERE id = ?1)
