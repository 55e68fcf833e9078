-- A live job, and in which place it stands.
SELECT j.seq, j.pos, j.line, j.gate, j.token IS NOT NULL, max(c.until, coalesce(h.until, 0)), l.cancel,
  EXISTS (SELECT 1 FROM line_jobs p WHERE p.line = j.line AND p.pos = j.pos AND p.seq = j.seq),
  EXISTS (SELECT 1 FROM suspects s WHERE s.queue = j.queue AND s.pos = j.pos AND s.seq = j.seq),
  EXISTS (SELECT 1 FROM gate_jobs g WHERE g.gate = j.gate AND g.behind = 0 AND g.priority = j.priority AND g.pos = j.pos),
  EXISTS (SELECT 1 FROM gate_jobs g WHERE g.gate = j.gate AND g.behind = 1 AND g.priority = 0 AND g.pos = j.pos)
FROM jobs j LEFT JOIN leases l ON l.seq = j.seq LEFT JOIN claims c ON c.epoch = l.epoch LEFT JOIN holders h ON h.holder = c.holder
WHERE j.id = ?1
