-- Promotes due tasks, a chunk of them, and takes the first of those that wait: they stand where apalis has what a worker runs.
--
--   KEYS  waiting, scheduled, the signal list, payloads, what the keys of metadata begin with, what this worker holds
--   ARGV  how many to promote and how many to take at most, bytes of all payloads together and of one, bytes of a longer one
local waiting, scheduled, signal, data, meta, mine = unpack(KEYS)
local promoted, most, left = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local longest, kept = tonumber(ARGV[4]), tonumber(ARGV[5])

local now = redis.call('TIME')[1]
local due = redis.call('ZRANGEBYSCORE', scheduled, '-inf', now, 'LIMIT', 0, promoted)
for _, id in ipairs(due) do
  redis.call('RPUSH', waiting, id)
  redis.call('ZREM', scheduled, id)
end
if #due > 0 then
  redis.call('DEL', signal)
  redis.call('LPUSH', signal, 1)
end

-- A key of another type is that one task's fault and nobody else's.
local function read(...)
  local value = redis.pcall(...)
  if type(value) == 'table' and value.err then
    return false
  end
  return value
end

local taken = {}
for _ = 1, most do
  local id = left > 0 and redis.call('LPOP', waiting)
  if not id then
    break
  end
  -- One that waits twice is taken once.
  if redis.call('SADD', mine, id) == 1 then
    local payload = read('HGET', data, id)
    local length = payload and #payload or 0
    left = left - length
    if length > longest then
      payload = payload:sub(1, kept)
    end
    taken[#taken + 1] = { id, length, payload, read('HGETALL', meta .. ':' .. id) or {} }
  end
end
if redis.call('EXISTS', waiting) == 0 then
  redis.call('DEL', signal)
end
return taken
