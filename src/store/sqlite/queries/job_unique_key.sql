SELECT unique_key FROM jobs WHERE seq = ?1
