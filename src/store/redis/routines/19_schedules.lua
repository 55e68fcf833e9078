-- Schedules: a hash with a remembered last instant each. Whoever fires first wins; the others see that it has moved.
--
--   <prefix>:{_}:schedules     hash   name -> paused, generation, last, the schedule
--   <prefix>:{_}:occurrences:<name>   zset   due -> generation, what became of it;  :occurring the set of those names

local function read(common, name)
  local row = call('HGET', common .. ':schedules', name)
  if row then
    return { paused = sub(row, 1, 1), generation = unpack8(row, 2), last = unpack8(row, 10), text = sub(row, 18) }
  end
end

local function write(common, name, x)
  call('HSET', common .. ':schedules', name, concat({ x.paused, pack8(x.generation), pack8(x.last), x.text }))
end

-- Puts the schedule. If its generation is still the one that the caller saw, and `is_same_rule`, only its text changes.
function W.put_schedule(common, name, text, seen, is_same_rule, now, op)
  local old = read(common, name)
  if (old and old.generation or 0) ~= seen then
    return false
  end
  W.audit(common, op)
  if old and is_same_rule then
    old.text = text
    write(common, name, old)
  else
    -- Numbers only grow, so a schedule that is deleted and made again is never taken for its former self.
    write(common, name, { paused = '0', generation = call('HINCRBY', common, 'generation', 1), last = now, text = text })
  end
  return true
end

local function record(common, name, generation, due, fate)
  call('ZADD', common .. ':occurrences:' .. name, due, concat({ pack8(due), pack8(generation), fate }))
  call('SADD', common .. ':occurring', name)
end

-- Instants before `before`: a schedule goes by its last one, and what became of the earlier ones is for people.
function W.forget_occurrences(common, before)
  for _, name in ipairs(call('SMEMBERS', common .. ':occurring')) do
    local key = common .. ':occurrences:' .. name
    call('ZREMRANGEBYSCORE', key, '-inf', '(' .. before)
    if call('EXISTS', key) == 0 then
      call('SREM', common .. ':occurring', name)
    end
  end
end

-- The job of that instant met another that holds its key.
function W.skip_occurrence(common, name, due)
  local key = common .. ':occurrences:' .. name
  for _, row in ipairs(call('ZRANGE', key, due, due, 'BYSCORE')) do
    if sub(row, 17, 17) == 'j' then
      call('ZREM', key, row)
      record(common, name, unpack8(row, 9), due, concat({ 's', pack8(due), pack8(1), 'duplicate' }))
    end
  end
end

-- Fires what is planned: `plan.skipped` and `plan.jobs`.
function W.fire(s, name, plan)
  local common = s.base
  local x = read(common, name)
  if not x or x.generation ~= plan.generation or x.last ~= plan.last then
    return false
  end
  x.last = plan.through
  write(common, name, x)
  local run = plan.skipped
  if run then
    record(common, name, plan.generation, run.from, concat({ 's', pack8(run.through), pack8(run.count), run.reason }))
  end
  for _, job in ipairs(plan.jobs) do
    record(common, name, plan.generation, job.due, 'j' .. job.id)
    W.send(s, { what = 'job', to = job.tag, id = W.hex(job.id), n = W.hex(cmsgpack.pack(job.n)), schedule = name, due = job.due })
  end
  return true
end

function W.delete_schedule(common, name, op)
  if not W.audit(common, op) then
    return 1
  end
  return call('HDEL', common .. ':schedules', name)
end

function W.pause_schedule(common, name, paused, op)
  if not W.audit(common, op) then
    return 1
  end
  local x = read(common, name)
  if not x then
    return 0
  end
  x.paused = paused
  write(common, name, x)
  return 1
end
