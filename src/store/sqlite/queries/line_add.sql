UPDATE lines SET
  waiting = waiting + ?2,
  -- A line that stops being empty joins at the queue's virtual time: it claims nothing for the time it was away, and owes
  -- nothing to those who were served meanwhile.
  vtime = CASE WHEN waiting = 0
    THEN max(vtime, coalesce((SELECT c.vtime FROM clocks c WHERE c.queue = lines.queue AND c.priority = lines.priority), 0))
    ELSE vtime END
WHERE line = ?1
