-- Reading. Each answer is what is stored; rows.rs makes a job of it.

-- A job that can be read; one that cannot is left to those who may write.
local function peek(s, id)
  local blob = call('HGET', s.jobs, id)
  local ok, j = pcall(W.decode, id, blob or '')
  return ok and j or nil
end

-- id, blob, end; and of one that runs: granted_at, holder, progress. `running`: what is known of all that run, if many are asked for.
local function shown(s, id, blob, ended, running)
  if ended then
    return { id, blob, ended }
  end
  local state = sub(blob, 2, 2)
  if state == 's' or state == 'p' then
    return { id, blob, '' }
  end
  local run = running[id]
  if not run then
    return { id, blob, '' }
  end
  return { id, blob, '', string.format('%.0f', run:granted_at()), run:holder(), call('HGET', s.progress, id) or '' }
end

-- id -> its claim, of all that run.
local function all_running(s)
  local running = {}
  for _, claim in ipairs(W.claims(s)) do
    claim:each(function(_, id)
      running[id] = claim
    end)
  end
  return running
end

function W.get(s, id)
  local blob = call('HGET', s.jobs, id)
  if not blob then
    return false
  end
  local ended = call('HGET', s.ends, id)
  local running = {}
  if not ended then
    local ok, j = pcall(W.decode, id, blob)
    if ok and STATES[j.state] == 'queued' and not W.stands(s, j) then
      running = all_running(s)
    end
  end
  return shown(s, id, blob, ended, running)
end

-- Jobs as they are stored, in the order of `ids`, until they come to `most_bytes`.
function W.rows(s, ids, most_bytes)
  local rows, bytes = {}, 0
  if #ids == 0 then
    return rows
  end
  local running = all_running(s)
  for i = 1, #ids, 50 do
    local some = { unpack(ids, i, min(i + 49, #ids)) }
    local blobs, ends = call('HMGET', s.jobs, unpack(some)), call('HMGET', s.ends, unpack(some))
    for k, id in ipairs(some) do
      if blobs[k] then
        rows[#rows + 1] = shown(s, id, blobs[k], ends[k], running)
        bytes = bytes + #blobs[k] + (ends[k] and #ends[k] or 0)
        if bytes >= most_bytes then
          return rows
        end
      end
    end
  end
  return rows
end

-- A page of jobs, newest id first, from below `below` on (or the end); of `only` dead letters.
function W.page(s, below, limit, only_dead, upwards, most_bytes)
  local set = only_dead and s.dead or s.ids
  local ids
  if upwards then
    ids = call('ZRANGE', set, below == '' and '-' or '(' .. below, '+', 'BYLEX', 'LIMIT', 0, limit)
  else
    ids = call('ZRANGE', set, below == '' and '+' or '(' .. below, '-', 'BYLEX', 'REV', 'LIMIT', 0, limit)
  end
  return W.rows(s, ids, most_bytes)
end

-- The ids of all that are in a state, in no order; nothing, where they are more than `most`.
function W.few(s, state, most)
  if state ~= 'running' then
    local set = state == 'scheduled' and s.due or s.parks
    return call('ZCARD', set) <= most and call('ZRANGE', set, 0, -1)
  end
  if tonumber(call('HGET', s.base, 'running') or 0) > most then
    return false
  end
  local ids = {}
  for id in pairs(all_running(s)) do
    ids[#ids + 1] = id
  end
  return ids
end

-- What export needs beside the job: who holds its unique key, and the parents it still waits for.
function W.beside_job(s, id)
  local j = peek(s, id)
  local unique = j and j.h.unique and call('HGET', s.uniques, (j.h.tenant or '') .. '\0' .. j.h.unique)
  return { unique or '', call('HKEYS', s.base .. ':parents:' .. id) }
end

-- Jobs that run in no lane, for `slots` knows only those that run in one.
local function running_in_none(s)
  local running = tonumber(call('HGET', s.base, 'running') or 0)
  for _, jobs in ipairs(call('HVALS', s.slots)) do
    running = running - jobs
  end
  return math.max(running + tonumber(call('HGET', s.slots, '') or 0), 0)
end

-- The lanes in which somebody waits or runs, of each level at most 10,000; '' is none.
function W.lanes(s)
  local is, names = {}, {}
  local function note(lanes)
    for _, lane in ipairs(lanes) do
      if not is[lane] then
        is[lane] = true
        names[#names + 1] = lane
      end
    end
  end
  for _, priority in ipairs(W.levels(s)) do
    note(call('ZRANGE', s.base .. ':open:' .. priority, 0, 9999))
  end
  note(call('SMEMBERS', s.shut))
  note(call('HKEYS', s.slots))
  if running_in_none(s) > 0 then
    note({ '' })
  end
  return names
end

-- Of each of these lanes: how many stand in its lines, and how many run.
function W.loads(s, lanes)
  local counts, levels = {}, W.levels(s)
  for _, lane in ipairs(lanes) do
    local waiting = 0
    for _, priority in ipairs(levels) do
      local line, heads = W.line_keys(s, priority, lane)
      waiting = waiting + call('LLEN', line) + call('ZCARD', heads)
    end
    counts[#counts + 1] = waiting
    counts[#counts + 1] = lane == '' and running_in_none(s) or tonumber(call('HGET', s.slots, lane) or 0)
  end
  return counts
end

-- Counters, pause, and when the oldest job at the head of a line became due.
function W.status(s)
  local counts = call('HMGET', s.base, 'scheduled', 'queued', 'running', 'parked', 'completed', 'cancelled', 'dead', 'pause', 'pos')
  counts[2] = string.format('%.0f', (counts[2] or 0) + (table.remove(counts) or 0))
  local oldest = huge
  for _, priority in ipairs(W.levels(s)) do
    local lanes = call('ZRANGE', s.base .. ':open:' .. priority, 0, 99)
    for _, lane in ipairs(lanes) do
      local line, heads = W.line_keys(s, priority, lane)
      local first = call('LINDEX', line, 0)
      local ids = { call('ZRANGE', heads, 0, 0)[1], first and sub(first, 9) or nil }
      for _, id in pairs(ids) do
        local j = peek(s, id)
        if j and tonumber(j.h.run_at) then
          oldest = min(oldest, j.h.run_at)
        end
      end
    end
  end
  return { counts, oldest < huge and string.format('%.0f', oldest) or '' }
end
