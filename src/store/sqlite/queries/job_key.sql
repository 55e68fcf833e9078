SELECT concurrency_key FROM jobs WHERE seq = ?1
