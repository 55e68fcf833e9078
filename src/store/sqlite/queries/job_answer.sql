-- The checkpoint that the worker left, with the answer beside it.
UPDATE jobs SET checkpoint = CASE
  WHEN checkpoint IS NULL THEN json_object('answer', json(?2))
  WHEN json_type(checkpoint) = 'object' THEN json_set(checkpoint, '$.answer', json(?2))
  ELSE json_object('checkpoint', json(checkpoint), 'answer', json(?2)) END
WHERE seq = ?1
