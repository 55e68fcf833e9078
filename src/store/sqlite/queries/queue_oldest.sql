-- Only the heads of the lines are looked at: the oldest of a line stands first.
SELECT min(j.run_at) FROM lines l
  JOIN line_jobs w ON w.line = l.line AND w.pos = (SELECT min(pos) FROM line_jobs h WHERE h.line = l.line)
  JOIN jobs j ON j.seq = w.seq
WHERE l.queue = ?1 AND l.waiting > 0
