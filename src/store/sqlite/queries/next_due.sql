SELECT min(t) FROM (
  SELECT min(run_at) AS t FROM jobs WHERE state = 'scheduled'
  UNION ALL SELECT min(park_until) FROM jobs WHERE state = 'parked'
  UNION ALL SELECT min(opens_at) FROM gates WHERE opens_at IS NOT NULL
  UNION ALL SELECT min(expires_at) FROM expiries)
