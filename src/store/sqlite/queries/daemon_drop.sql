DELETE FROM daemons WHERE holder = ?1
