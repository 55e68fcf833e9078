-- Keys come and go; a gate that holds nothing back and remembers nothing is made anew when its key returns.
SELECT g.gate, g.waiting = 0 AND g.head IS NULL AND g.tat <= ?3 AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.gate = g.gate)
FROM gates g WHERE g.gate > ?1 ORDER BY g.gate LIMIT ?2
