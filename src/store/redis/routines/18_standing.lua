-- What holds one job back: the facts, a bounded number of them. As JSON of `job::Standing`, in which large numbers are text.

local function whole(number)
  return string.format('%.0f', number)
end

-- The jobs of a line's list that stand before `j`: those that left their place are passed over, as long as looking is cheap.
local function listed_before(s, j, line, most)
  local rows = call('LRANGE', line, 0, most * 2)
  local before, bytes = 0, 0
  for i = 1, #rows, 50 do
    local ids = {}
    for k = i, min(i + 49, #rows) do
      if unpack8(rows[k], 1) >= j.pos or before > most then
        break
      end
      ids[#ids + 1] = sub(rows[k], 9)
    end
    if #ids == 0 then
      break
    end
    local blobs = bytes < 4194304 and call('HMGET', s.jobs, unpack(ids)) or {}
    for k = 1, #ids do
      local blob = blobs[k]
      bytes = bytes + (blob and #blob or 0)
      if blob == nil or blob and sub(blob, 2, 2) == 'q' and sub(blob, 3, 10) == sub(rows[i + k - 1], 1, 8) and call('HEXISTS', s.ends, ids[k]) == 0 then
        before = before + 1
      end
    end
  end
  return before
end

local function share(s, priority, lane, vtime)
  local line, heads = W.line_keys(s, priority, lane)
  local weight = min(max(s:rules().weights[lane] or 1, 1), STEP)
  return { waiting = call('LLEN', line) + call('ZCARD', heads), vtime = whole(vtime), step = floor(STEP / weight) }
end

-- Who is served before a job that stands in its line.
local function before(s, j, most, lines)
  local priority, lane = j.h.priority, W.lane(j)
  local line, heads = W.line_keys(s, priority, lane)
  local urgent, looked = 0, 0
  for _, level in ipairs(W.levels(s)) do
    if tonumber(level) < priority then
      for _, other in ipairs(call('ZRANGE', s.base .. ':open:' .. level, 0, lines - 1)) do
        local its_line, its_heads = W.line_keys(s, level, other)
        urgent = urgent + call('LLEN', its_line) + call('ZCARD', its_heads)
      end
    end
  end
  local open = s.base .. ':open:' .. priority
  local own = share(s, priority, lane, tonumber(call('ZSCORE', open, lane) or 0))
  local others = {}
  local rows = call('ZRANGE', open, 0, lines, 'WITHSCORES')
  for i = 1, #rows, 2 do
    looked = looked + 1
    if rows[i] ~= lane then
      others[#others + 1] = share(s, priority, rows[i], tonumber(rows[i + 1]))
    end
  end
  return { line = call('ZCOUNT', heads, '-inf', '(' .. whole(j.pos)) + listed_before(s, j, line, most), urgent = urgent, own = own,
    others = #others > 0 and others or nil, is_cut = looked > lines }
end

-- How a job's key is used, and how many stand behind its gate before it.
local function key_use(s, j, most, shown)
  local g = W.gate(s, W.gate_key(j.h))
  local holders = {}
  for _, id in ipairs(call('SRANDMEMBER', g.run, shown)) do
    holders[#holders + 1] = W.uuid(id)
  end
  local list = j.state == 'b' and g.behind or g.wait
  local ahead = (j.state == 'b' or j.state == 'g') and call('ZRANK', list, j.id) or 0
  local opens
  if g.rate then
    -- As it will be opened by the rate of now: what a slower one has left behind is looked at again, with the next lease at the latest.
    local tat = W.rate_keeps(g.rate, g.tat, s.now)
    local promised = g.opens and W.rate_opens(g.rate, tat + g.rate.interval * call('ZCARD', g.line)) or 0
    opens = max(W.rate_opens(g.rate, tat), min(g.opens or 0, promised))
  end
  return { slots = g.limit, running = min(call('SCARD', g.run), most + 1), holders = #holders > 0 and holders or nil,
    head = g.head and W.uuid(g.head) or nil, before = min(ahead or 0, most + 1), rate_opens_at = opens and whole(opens) or nil }
end

local PARENT_STATES = { c = 'completed', x = 'dead', l = 'queued', ['?'] = 'queued' }

-- Each parent that is still waited for, as it was last heard of.
local function parents_of(s, j)
  local parents = {}
  local rows = call('HGETALL', s.base .. ':parents:' .. j.id)
  for i = 1, #rows, 2 do
    parents[#parents + 1] = { id = W.uuid(rows[i]), state = PARENT_STATES[rows[i + 1]] }
  end
  return #parents > 0 and parents or nil
end

local function pause_of(s)
  return s:is_paused() and cjson.decode(call('HGET', s.base, 'pause')) or nil
end

local function lease_of(s, id)
  for _, claim in ipairs(W.claims(s)) do
    local found = false
    claim:each(function(_, of)
      found = of == id
      return not found
    end)
    if found then
      local row = call('HGET', s.holders, claim:holder())
      return { ['until'] = whole(max(claim:till(), row and unpack8(row, 1) or 0)), cancel = call('HGET', s.cancels, id) or nil }
    end
  end
end

function W.standing(s, id, most, lines, shown)
  local rules = s:rules()
  local tat = tonumber(call('HGET', s.base, 'tat') or 0)
  local opens = rules.rate and W.rate_opens(rules.rate, W.rate_keeps(rules.rate, tat, s.now))
  local is = { now = whole(s.now), queue = { running = s:running(), slots = rules.concurrency, rate_opens_at = opens and whole(opens) or nil } }
  is.pause = pause_of(s)
  local blob = call('HGET', s.jobs, id)
  local ok, j = pcall(W.decode, id, blob or '')
  if not ok then
    return cjson.encode(is)
  end
  if call('HEXISTS', s.ends, id) == 1 then
    is.unique_holder = j.h.unique and W.other_holder(s, j) or nil
  elseif j.state == 'p' then
    is.parents, is.awaits_answer = parents_of(s, j), j.h.token ~= nil
  elseif j.state ~= 's' then
    if not W.stands(s, j) then
      is.place, is.lease = 'lease', lease_of(s, id)
    elseif j.state == 'u' then
      is.place = 'alone'
    elseif j.state == 'g' or j.state == 'b' then
      is.place = 'gate'
    else
      is.place, is.before = 'line', before(s, j, most, lines)
    end
    is.key = j.h.key and key_use(s, j, most, shown) or nil
    if rules.tenant_concurrency and call('SISMEMBER', s.shut, W.lane(j)) == 1 then
      is.tenant_full = rules.tenant_concurrency
    end
  end
  return cjson.encode(is)
end
