-- Rows stand in the order in which they came, so the first that is too young ends the walk. The newest stays: it proves that none behind it is gone.
DELETE FROM audit WHERE seq IN (SELECT seq FROM (SELECT seq, at FROM audit ORDER BY seq LIMIT ?2) WHERE at < ?1) AND seq < (SELECT seq FROM audit_head)
