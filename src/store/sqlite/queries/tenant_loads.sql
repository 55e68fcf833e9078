-- In the order of the index, so that it ends with the page; of those that run there are as many as daemons have slots.
WITH running AS MATERIALIZED (SELECT n.tenant, count(*) AS jobs FROM leases l JOIN lines n ON n.line = l.line GROUP BY n.tenant)
SELECT n.tenant, sum(n.waiting), coalesce((SELECT r.jobs FROM running r WHERE r.tenant = n.tenant), 0) AS runs
FROM lines n WHERE ?1 IS NULL OR n.tenant > ?1
GROUP BY n.tenant HAVING sum(n.waiting) > 0 OR runs > 0 ORDER BY n.tenant LIMIT ?2
