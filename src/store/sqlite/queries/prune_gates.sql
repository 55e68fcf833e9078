-- Keys come and go; a gate that holds nothing back and remembers nothing is made anew when its key returns.
DELETE FROM gates WHERE gate IN (
  SELECT g.gate FROM gates g
  WHERE g.waiting = 0 AND g.head IS NULL AND g.tat <= ?1 AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.gate = g.gate)
  LIMIT ?2)
