-- Each parent with its state; NULL where there is none, or it belongs to another tenant.
SELECT d.parent, (
    SELECT p.state FROM (
      SELECT state, tenant FROM jobs    WHERE id = d.parent UNION ALL
      SELECT state, tenant FROM history WHERE id = d.parent UNION ALL
      SELECT state, tenant FROM dead    WHERE id = d.parent
    ) p WHERE p.tenant IS c.tenant)
FROM dependencies d JOIN jobs c ON c.seq = d.child
WHERE d.child = ?1
