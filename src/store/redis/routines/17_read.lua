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

-- A page of jobs, newest id first, from below `below` on (or the end); of `only` dead letters. Answers rows, how many were looked at, and the
-- id of the last.
function W.page(s, below, limit, only_dead, upwards, most_bytes)
  local set = only_dead and s.dead or s.ids
  local ids
  if upwards then
    ids = call('ZRANGE', set, below == '' and '-' or '(' .. below, '+', 'BYLEX', 'LIMIT', 0, limit)
  else
    ids = call('ZRANGE', set, below == '' and '+' or '(' .. below, '-', 'BYLEX', 'REV', 'LIMIT', 0, limit)
  end
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

-- What export needs beside the job: who holds its unique key, and the parents it still waits for.
function W.beside_job(s, id)
  local j = peek(s, id)
  local unique = j and j.h.unique and call('HGET', s.uniques, (j.h.tenant or '') .. '\0' .. j.h.unique)
  return { unique or '', call('HKEYS', s.base .. ':parents:' .. id) }
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
