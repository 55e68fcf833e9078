DELETE FROM pauses WHERE until <= ?1
