SELECT unique_key, unique_for FROM jobs WHERE seq = ?1
