UPDATE leases SET progress = ?3 WHERE seq = ?1 AND epoch = ?2
