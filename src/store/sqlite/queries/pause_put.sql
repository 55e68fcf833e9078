INSERT INTO pauses (queue, at, by, reason) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET at = excluded.at, by = excluded.by, reason = excluded.reason
