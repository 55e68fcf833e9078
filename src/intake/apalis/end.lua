-- Ends tasks that this worker still holds, with what a stock producer that waits for them reads.
--
--   KEYS  what this worker holds, the done, the dead, what the keys of metadata begin with
--   ARGV  for each: the task, its status, its attempts, its result as JSON
local mine, done, dead, meta = unpack(KEYS)
local now = redis.call('TIME')[1]
for i = 1, #ARGV, 4 do
  local id, status, attempts, result = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  if redis.call('SREM', mine, id) == 1 then
    local ended = status == 'Done' and done or dead
    redis.call('SADD', ended, id)
    -- Where the key is of another type there is no place for the result, and nobody who could read it.
    redis.pcall('HSET', meta .. ':' .. id, 'result', result, 'status', status, 'attempts', attempts, 'done_at', now)
    redis.call('PUBLISH', 'tasks:' .. ended, id)
  end
end
return 1
