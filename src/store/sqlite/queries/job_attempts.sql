SELECT attempts, attempt FROM jobs WHERE seq = ?1
