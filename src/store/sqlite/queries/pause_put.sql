INSERT OR REPLACE INTO pauses (queue, at, by, reason, until) VALUES (?1, ?2, ?3, ?4, ?5)
