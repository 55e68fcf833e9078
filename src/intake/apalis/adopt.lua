-- Takes over what silent workers of the same bridge hold, and forgets them; answers how many tasks.
--
--   KEYS  the queue's workers, what this worker holds, what all such keys begin with
--   ARGV  this worker, what the names of the bridge's workers begin with, seconds beyond now of a word that is too old
local workers, mine, inflight = KEYS[1], KEYS[2], KEYS[3]
local me, family = ARGV[1], ARGV[2]
local before = redis.call('SCARD', mine)
local latest = tonumber(redis.call('TIME')[1]) + tonumber(ARGV[3])
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', workers, '-inf', latest)) do
  if worker ~= me and worker:sub(1, #family) == family then
    local held = inflight .. ':' .. worker
    redis.call('SUNIONSTORE', mine, mine, held)
    redis.call('DEL', held, workers .. ':metadata:' .. worker)
    redis.call('ZREM', workers, worker)
  end
end
return redis.call('SCARD', mine) - before
