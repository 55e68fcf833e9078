-- Rows stand in the order in which they ended, so the first that is too young ends the walk.
DELETE FROM history WHERE seq IN (
  SELECT seq FROM (SELECT seq, finished_at FROM history ORDER BY seq LIMIT ?2) WHERE finished_at < ?1)
RETURNING queue, state
