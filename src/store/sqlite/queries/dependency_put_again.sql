INSERT OR IGNORE INTO dependencies (parent, child) VALUES (?1, ?2)
