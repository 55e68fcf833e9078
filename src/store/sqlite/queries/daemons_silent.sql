DELETE FROM daemons WHERE until < ?1
