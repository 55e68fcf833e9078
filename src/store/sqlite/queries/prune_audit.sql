-- Rows stand in the order in which they came, so the first that is too young ends the walk.
DELETE FROM audit WHERE seq IN (SELECT seq FROM (SELECT seq, at FROM audit ORDER BY seq LIMIT ?2) WHERE at < ?1)
