DELETE FROM jobs WHERE seq IN rarray(?1)
