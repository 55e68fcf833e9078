-- A job that is leased already, whatever its line says, is not leased again.
INSERT OR IGNORE INTO leases (seq, epoch, line, pos, gate, flags, tag, cancel) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
