-- Lines. One of (priority, lane) in which somebody waits stands in `open:<priority>` by its virtual time, unless its tenant is at
-- its cap; of the others, `vt:<priority>` remembers the virtual time as long as it is ahead of the queue's.

local function line_keys(s, priority, lane)
  local name = priority .. ':' .. lane
  return s.base .. ':line:' .. name, s.base .. ':heads:' .. name
end
W.line_keys = line_keys

local function clock_of(s, priority)
  return tonumber(call('HGET', s.base, 'clock:' .. priority) or 0)
end

-- The queue's virtual time is that of who was served last.
function W.move_clock(s, priority, vtime)
  if vtime > clock_of(s, priority) then
    call('HSET', s.base, 'clock:' .. priority, vtime)
  end
end

-- The line has somebody waiting: it joins at the queue's virtual time. It claims nothing for the time it was away, and owes
-- nothing to those who were served meanwhile.
function W.open_line(s, priority, lane)
  if s:rules().tenant_concurrency and lane ~= '' and call('SISMEMBER', s.shut, lane) == 1 then
    return
  end
  local times = s.base .. ':vt:' .. priority
  local vtime = tonumber(call('HGET', times, lane) or 0)
  if call('ZADD', s.base .. ':open:' .. priority, 'NX', max(vtime, clock_of(s, priority)), lane) == 1 then
    call('SADD', s.levels, priority)
    if vtime > 0 then
      call('HDEL', times, lane)
    end
  end
end

-- The priorities in which somebody may wait, the most urgent first.
function W.levels(s)
  local levels = call('SMEMBERS', s.levels)
  table.sort(levels)
  return levels
end

-- Takes the line out of those that are served; its virtual time, which may be known, is kept while it is ahead of the queue's.
function W.close_line(s, priority, lane, vtime)
  local open = s.base .. ':open:' .. priority
  vtime = vtime or tonumber(call('ZSCORE', open, lane) or 0)
  call('ZREM', open, lane)
  if vtime > 0 and vtime > clock_of(s, priority) then
    call('HSET', s.base .. ':vt:' .. priority, lane, vtime)
  end
end

local function is_empty(s, priority, lane)
  local line, heads = line_keys(s, priority, lane)
  return call('EXISTS', line, heads) == 0
end
W.is_line_empty = is_empty

-- The tenant is at its cap.
function W.shut_lane(s, lane)
  call('SADD', s.shut, lane)
  for priority = 0, 9 do
    W.close_line(s, priority, lane)
  end
end

-- The tenant may have a slot free again.
function W.reopen_lane(s, lane)
  if lane ~= '' and call('SREM', s.shut, lane) == 1 then
    for priority = 0, 9 do
      if not is_empty(s, priority, lane) then
        W.open_line(s, priority, lane)
        s.work = true
      end
    end
  end
end

-- Jobs of one line that are new there, in the order of their positions, behind all that ever stood in it.
function W.append(s, priority, lane, places)
  local line = line_keys(s, priority, lane)
  for i = 1, #places, CHUNK do
    local last = min(i + CHUNK - 1, #places)
    if call('RPUSH', line, unpack(places, i, last)) == last - i + 1 then
      W.open_line(s, priority, lane)
    end
  end
  s.work = true
end

-- A job that has an older position than others of its line.
function W.put_among_heads(s, j)
  local _, heads = line_keys(s, j.h.priority, W.lane(j))
  j.state = 'h'
  W.write_job(s, j)
  call('ZADD', heads, j.pos, j.id)
  W.open_line(s, j.h.priority, W.lane(j))
  s.work = true
end
