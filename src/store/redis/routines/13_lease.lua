-- Granting: which due jobs start now. Priority first, then the line of the lowest virtual time, then position. Every row that is
-- looked at leaves its line: granted, held back by its gate, parked, expired or quarantined.

-- Rows that a call looks at per job it wants, and beyond: bounds it however many turn out to be held back.
local SCAN_PER_JOB, SCAN_EXTRA = 4, 1000

local function is_full(c)
  return c.bytes <= 0 or c.looks <= 0 or c.granted >= W.claim_takes
end

-- One job starts: it goes into the claim, and its blob into the answer.
local function grant(c, id, blob, flags, lane)
  local n, m, out = c.granted + 1, c.told, c.out
  c.ids[n], c.flags[n], c.lanes[n] = id, flags, lane
  out[m + 1], out[m + 2] = id, blob
  c.granted, c.told, c.bytes = n, m + 2, c.bytes - #blob
end

-- A job that its lease must look at closer. Answers whether it started.
local function grant_with_care(s, c, id, blob, flags, lane)
  local j = W.read_job(s, id)
  if not j then
    return false
  end
  local h = j.h
  if h.key and flags ~= SUSPECT and not W.gate_starts(s, j) then
    return false
  end
  if h.expires_at and h.expires_at <= s.now and not h.attempts then
    if h.key then
      W.gate_ends(s, W.gate_key(h), id, true)
    end
    call('ZREM', s.expiries, id)
    W.expire(s, j)
    return false
  elseif not c.kinds[j.kind] then
    if h.key then
      -- Its turn stays with an ordered job that waits for a daemon that knows it, as with one that waits to be retried.
      W.gate_ends(s, W.gate_key(h), id, s:rules().skip)
    end
    W.park(s, j, 'unknown_kind', W.plus_ms(s.now, s:kind(j.kind).park_for_ms))
    s:move('queued', 'parked')
    return false
  end
  if h.unique then
    flags = flags + UNIQUE
    W.unique_started(s, j)
  end
  if h.on_success or h.on_failure then
    flags = flags + ENDS
  end
  if h.ordered then
    flags = flags + ORDERED
  end
  if h.key then
    flags = flags + KEYED
  end
  if h.expires_at then
    call('ZREM', s.expiries, id)
  end
  grant(c, id, blob, char(flags), lane)
  return true
end

-- The next of a line, at most `n`, in the order of their positions: position and id of each, and which of them are heads.
local function next_of_line(s, line, heads, n)
  local some = call('LRANGE', line, 0, n - 1)
  local returned = call('ZRANGE', heads, 0, n - 1, 'WITHSCORES')
  if #returned == 0 then
    return some, {}
  end
  local next_, is_head = {}, {}
  local i, k = 1, 1
  while #next_ < n and (i <= #some or k <= #returned) do
    local pos = some[i] and unpack8(some[i], 1) or huge
    if k <= #returned and tonumber(returned[k + 1]) < pos then
      next_[#next_ + 1] = pack8(tonumber(returned[k + 1])) .. returned[k]
      is_head[#next_] = true
      k = k + 2
    else
      next_[#next_ + 1] = some[i]
      i = i + 1
    end
  end
  return next_, is_head
end

local LIST, HEADS = byte('q'), byte('h')

-- Takes up to `quota` rows from the head of one line. Answers how many were granted, and how many were looked at.
local function lease_line(s, c, priority, lane, quota)
  quota = min(quota, c.looks, W.claim_takes - c.granted)
  local line, heads = W.line_keys(s, priority, lane)
  local rows, is_head = next_of_line(s, line, heads, quota)
  local granted, looked, from_list, from_heads = 0, 0, 0, {}
  local kinds = c.kinds
  -- As many blobs at once as will surely fit.
  local step, at = 16, 1
  while at <= #rows and not is_full(c) do
    local last = min(at + step - 1, #rows)
    local ids = {}
    for i = at, last do
      ids[i - at + 1] = sub(rows[i], 9)
    end
    local blobs = call('HMGET', s.jobs, unpack(ids))
    local size = 0
    for i = at, last do
      if c.bytes <= 0 then
        break
      end
      local id, blob, state = ids[i - at + 1], blobs[i - at + 1], LIST
      looked = looked + 1
      if is_head[i] then
        state = HEADS
        from_heads[#from_heads + 1] = id
      else
        from_list = from_list + 1
      end
      -- One that has left its place is passed over.
      if blob and byte(blob, 2) == state and sub(blob, 3, 10) == sub(rows[i], 1, 8) then
        size = size + #blob
        if byte(blob, 1) == 0 and kinds[sub(blob, 12, 11 + byte(blob, 11))] then
          grant(c, id, blob, '\0', lane)
          granted = granted + 1
        elseif grant_with_care(s, c, id, blob, 0, lane) then
          granted = granted + 1
        end
      end
    end
    step = max(1, min(CHUNK, floor(c.bytes / max(size / (last - at + 1), 1))))
    at = last + 1
  end
  c.looks = c.looks - looked
  if from_list > 0 then
    call('LTRIM', line, from_list, -1)
  end
  W.spread('ZREM', heads, from_heads)
  if granted > 0 then
    s:count('queued', -granted)
    s:count('running', granted)
    s:run(lane, granted)
  end
  return granted, looked
end

-- How many more of this lane's tenant may start.
local function tenant_room(s, lane)
  local limit = s:rules().tenant_concurrency
  if not limit or lane == '' then
    return huge
  end
  return max(limit - s:running_in(lane), 0)
end

-- A job that was running when a process died runs as the only one of its sort of this holder.
local function lease_suspect(s, c)
  local first = call('ZRANGE', s.suspects, 0, 0)[1]
  if not first then
    return 0
  elseif not c.may_suspect or c.suspect or call('HEXISTS', s:alone_in(), c.holder) == 1 then
    c.suspects_wait = true
    return 0
  end
  local j = W.read_job(s, first)
  if not j then
    call('ZREM', s.suspects, first)
    return 0
  end
  local lane = W.lane(j)
  if (j.h.key and not W.gate_has_slot(s, W.gate_key(j.h))) or tenant_room(s, lane) == 0 then
    return 0
  end
  call('ZREM', s.suspects, first)
  if j.h.key then
    W.gate_starts(s, j)
  end
  if not grant_with_care(s, c, first, call('HGET', s.jobs, first), SUSPECT, lane) then
    return 0
  end
  c.suspect = true
  call('HSET', s:alone_in(), c.holder, first)
  s:move('queued', 'running')
  s:run(lane, 1)
  return 1
end

-- Serves the lines: the most urgent priority first, within it the line of lowest virtual time.
local function lease_lines(s, c, want)
  local rules = s:rules()
  for _, priority in ipairs(W.levels(s)) do
    local open = s.base .. ':open:' .. priority
    while want > 0 and not is_full(c) do
      local first = call('ZRANGE', open, 0, 1, 'WITHSCORES')
      local lane, vtime = first[1], tonumber(first[2])
      if not lane then
        break
      end
      local step = floor(STEP / min(max(rules.weights[lane] or 1, 1), STEP))
      local ahead = first[3] and floor((tonumber(first[4]) - vtime) / step) + 1 or huge
      local room = tenant_room(s, lane)
      local quota = min(want, ahead, room)
      local granted, looked = 0, 0
      if quota > 0 then
        granted, looked = lease_line(s, c, priority, lane, quota)
      end
      want = want - granted
      vtime = vtime + step * granted
      if granted > 0 then
        W.move_clock(s, priority, vtime - step)
      end
      if granted < room and W.is_line_empty(s, priority, lane) then
        W.close_line(s, priority, lane, vtime)
      else
        call('ZADD', open, vtime, lane)
        if granted == room then
          W.shut_lane(s, lane)
        elseif looked == 0 then
          break
        end
      end
    end
  end
end

-- How many of `want` the queue's pause, its limit and its rate let start; and the rate's arrival time.
local function room_for(s, want)
  if s:is_paused() then
    return 0, 0
  end
  local rules, tat = s:rules(), 0
  if rules.concurrency then
    want = min(want, rules.concurrency - s:running())
  end
  if rules.rate then
    local stored = tonumber(call('HGET', s.base, 'tat') or 0)
    tat = W.rate_keeps(rules.rate, stored, s.now)
    if tat ~= stored then
      call('HSET', s.base, 'tat', tat)
    end
    want = min(want, W.rate_admits(rules.rate, tat, s.now))
  end
  return max(want, 0), tat
end

-- Whether anything could start now.
local function has_work(s, c)
  if room_for(s, 1) == 0 then
    return false
  end
  for _, priority in ipairs(W.levels(s)) do
    if call('EXISTS', s.base .. ':open:' .. priority) == 1 then
      return true
    end
  end
  local suspects = call('EXISTS', s.suspects) == 1
  c.suspects_wait = c.suspects_wait or suspects
  return suspects and c.may_suspect
end

local function lease_from(s, c, want)
  local tat
  want, tat = room_for(s, want)
  if want == 0 then
    return
  end
  local rules = s:rules()
  local before = c.told
  want = want - lease_suspect(s, c)
  local left = want
  repeat
    local so_far = c.told
    lease_lines(s, c, left)
    left = left - (c.told - so_far) / 2
    -- Those that were looked at in vain let others in.
    local others_come = next(s.refills) ~= nil
    W.refill_all(s)
  until left <= 0 or is_full(c) or not others_come
  local starts = (c.told - before) / 2
  if rules.rate and starts > 0 then
    call('HSET', s.base, 'tat', W.rate_spend(rules.rate, tat, s.now, starts))
  end
end

-- The next instant at which time alone brings work.
function W.next_due(s)
  local next_ = huge
  if call('EXISTS', s.due, s.parks, s.opening, s.expiries) > 0 then
    for _, set in ipairs({ s.due, s.parks, s.opening, s.expiries }) do
      local first = call('ZRANGE', set, 0, 0, 'WITHSCORES')
      next_ = min(next_, tonumber(first[2] or huge))
    end
  end
  local rate = s:rules().rate
  if rate then
    local opens = W.rate_opens(rate, tonumber(call('HGET', s.base, 'tat') or 0))
    if opens > s.now then
      next_ = min(next_, opens)
    end
  end
  return next_
end

-- Leases from each of the opened shards as many as it is asked for; of one that is asked for none, only whether it has any. Answers: epoch and number of jobs of each shard; then id and
-- blob of each job, in the same order; what is next due; whether there may be more, or surely is nothing else.
function W.lease(shards, wants, c)
  local spans, due, more, drained = {}, huge, false, true
  local wanted = 0
  for i = 1, #shards do
    wanted = wanted + wants[i]
  end
  c.looks, c.out, c.told, c.suspect, c.suspects_wait = wanted * SCAN_PER_JOB + SCAN_EXTRA, {}, 0, false, false
  for i, s in ipairs(shards) do
    c.granted, c.ids, c.flags, c.lanes = 0, {}, {}, {}
    more = W.advance(s).more or more
    if wants[i] == 0 then
      more = has_work(s, c) or more
    elseif not is_full(c) then
      lease_from(s, c, wants[i])
    end
    local epoch = 0
    if c.granted > 0 then
      epoch = call('HINCRBY', s.base, 'epoch', 1)
      W.put_claim(s, epoch, c, c.ids, c.flags, c.lanes)
      if call('HEXISTS', s.holders, c.holder) == 0 then
        call('HSET', s.holders, c.holder, pack8(s.now) .. c.node)
      end
    end
    more = more or is_full(c)
    drained = drained and not more and (c.granted < wants[i] or wants[i] == 0)
    spans[2 * i - 1], spans[2 * i] = epoch, c.granted
  end
  if drained or c.told == 0 then
    for _, s in ipairs(shards) do
      due = min(due, W.next_due(s))
      -- From now on, whoever brings work says so.
      call('HSET', s.base, 'asleep', 1)
    end
  end
  return { spans, c.out, due < huge and string.format('%.0f', due) or '', more and 1 or 0, string.format('%.0f', shards[1].now),
    { c.suspects_wait and 1 or 0, c.suspect and 1 or 0, drained and 1 or 0 } }
end

-- What the lease call `nonce` granted that is still leased.
function W.leased_by(s, nonce)
  local found = {}
  for _, claim in ipairs(W.claims(s)) do
    if claim:nonce() == nonce then
      claim:each(function(place, id)
        local blob = call('HGET', s.jobs, id)
        if blob then
          found[#found + 1] = { claim.epoch, place, id, blob, string.format('%.0f', claim:granted_at()) }
        end
      end)
    end
  end
  return found
end

-- Renews the leases of a holder. `held`: epoch, place and id of what it knows of. Answers, for each of these, 0, 1 (lost) or
-- 2 (to be cancelled); and what it holds and did not name.
function W.beat(s, holder, node, lease, held, progress)
  call('HSET', s.holders, holder, pack8(s.now + lease) .. node)
  local named, verdicts, strays = {}, {}, {}
  local asks = call('EXISTS', s.cancels) == 1
  local mine = {}
  for _, claim in ipairs(W.claims(s)) do
    if claim:holder() == holder then
      mine[claim.epoch], named[claim.epoch] = claim, {}
    end
  end
  for i = 1, #held, 3 do
    local claim, place, id = mine[held[i]], tonumber(held[i + 1]), held[i + 2]
    local verdict = 1
    if claim and claim:holds(place, id) then
      verdict = asks and call('HEXISTS', s.cancels, id) == 1 and 2 or 0
      named[claim.epoch][place] = true
    end
    verdicts[#verdicts + 1] = verdict
  end
  for i = 1, #progress, 3 do
    if mine[progress[i + 1]] then
      call('HSET', s.progress, progress[i], progress[i + 2])
    end
  end
  for epoch, claim in pairs(mine) do
    claim:each(function(place, id)
      if not named[epoch][place] then
        for _, of in ipairs({ epoch, place, id, claim:nonce(), string.format('%.0f', claim:granted_at()) }) do
          strays[#strays + 1] = of
        end
      end
      return #strays < 500
    end)
  end
  return { verdicts, strays }
end
