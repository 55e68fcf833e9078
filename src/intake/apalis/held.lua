-- What is told of tasks that a worker holds. A payload is read only where the task may have to be enqueued.
--
--   KEYS  payloads, what the keys of metadata begin with
--   ARGV  the tasks
local function read(...)
  local value = redis.pcall(...)
  if type(value) == 'table' and value.err then
    return false
  end
  return value
end

local told = {}
for i, id in ipairs(ARGV) do
  local key = KEYS[2] .. ':' .. id
  local runs = read('HGET', key, 'status') == 'Running'
  local payload = not runs and read('HGET', KEYS[1], id)
  told[i] = { id, payload and #payload or 0, payload, read('HGETALL', key) or {} }
end
return told
