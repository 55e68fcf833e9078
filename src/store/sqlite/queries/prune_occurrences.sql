-- A schedule goes by its last instant; what became of the earlier ones is for people.
DELETE FROM occurrences WHERE (schedule, generation, due) IN (
  SELECT schedule, generation, due FROM occurrences WHERE due < ?1 ORDER BY due LIMIT ?2)
