-- Marks tasks as running, and tells who listens, as a worker of apalis does.
--
--   KEYS  what this worker holds, what the keys of metadata begin with, the waiting
--   ARGV  this worker, then the tasks
local now = redis.call('TIME')[1]
for i = 2, #ARGV do
  if redis.call('SISMEMBER', KEYS[1], ARGV[i]) == 1 then
    redis.call('HSET', KEYS[2] .. ':' .. ARGV[i], 'locked_at', now, 'locked_by', ARGV[1], 'status', 'Running')
    redis.call('PUBLISH', 'tasks:' .. KEYS[3] .. ':lock', ARGV[i])
  end
end
return 1
