-- Jobs come in. An item is an id, a head and a payload, as rows.rs packs them.

local function answer(id, state, is_duplicate)
  return (is_duplicate and '1' or '0') .. state .. id
end

local function refuse(code, index, id)
  return { code = code, index = index, id = id }
end

local function tenant_key(n, key)
  return (n.tenant or '') .. '\0' .. key
end

-- ---------------------------------------------------------------- unique keys

local function unpack_unique(text)
  return { held = sub(text, 1, 1), live = sub(text, 2, 2) == '1', till = unpack8(text, 3), first_at = unpack8(text, 11), id = sub(text, 19) }
end

local function put_unique(s, name, u)
  call('HSET', s.uniques, name, concat({ u.held, u.live and '1' or '0', pack8(u.till), pack8(u.first_at), u.id }))
end

-- Who holds the key now.
local function holder_of(s, name)
  local text = call('HGET', s.uniques, name)
  local u = text and unpack_unique(text)
  return u and (u.live or (u.held == 'w' and u.till > s.now)) and u or nil
end

local function take_unique(s, n, id)
  local u = n.unique
  local name = tenant_key(n, u.key)
  local till = u.held == 'w' and s.now + u.window or 0
  put_unique(s, name, { held = u.held, live = true, till = till, first_at = s.now, id = id })
  call('ZREM', s.windows, name)
end

-- The job that held its key until the start has started.
function W.unique_started(s, j)
  local name = tenant_key(j.h, j.h.unique)
  local text = call('HGET', s.uniques, name)
  local u = text and unpack_unique(text)
  if u and u.id == j.id and u.held == 's' then
    call('HDEL', s.uniques, name)
  end
end

-- The job is final: the key is free, or stays for the rest of its window.
function W.unique_ended(s, j)
  local name = tenant_key(j.h, j.h.unique)
  local text = call('HGET', s.uniques, name)
  local u = text and unpack_unique(text)
  if not u or u.id ~= j.id then
    return
  elseif u.held ~= 'w' or u.till <= s.now then
    call('HDEL', s.uniques, name)
  else
    u.live = false
    put_unique(s, name, u)
    call('ZADD', s.windows, u.till, name)
  end
end

-- The job is no more, and so is its claim on the key.
function W.unique_lost(s, tenant, key, id)
  local name = tenant .. '\0' .. key
  local text = call('HGET', s.uniques, name)
  if text and unpack_unique(text).id == id then
    call('HDEL', s.uniques, name)
    call('ZREM', s.windows, name)
  end
end

-- A redriven job needs its key back; answers who else has it.
function W.unique_again(s, j)
  local name = tenant_key(j.h, j.h.unique)
  local text = call('HGET', s.uniques, name)
  local u = text and unpack_unique(text)
  if u and u.id ~= j.id and (u.live or u.held == 'w' and u.till > s.now) then
    return u.id
  end
  -- A window that passed is not opened again; a key held until the start is free once the job starts again.
  local held = j.h.held == 's' and 's' or 'f'
  if u and u.held == 'w' then
    u.live, u.id = true, j.id
  else
    u = { held = held, live = true, till = 0, first_at = 0, id = j.id }
  end
  put_unique(s, name, u)
  call('ZREM', s.windows, name)
end

-- ---------------------------------------------------------------- what is refused

-- Of a job that is there: whether the same id came with the same body.
local function is_same(known, n)
  if known.fingerprint then
    return known.fingerprint == n.fingerprint
  end
  -- Minted by a door: nobody else can have it, so it is the door asking again.
  return not n.is_producers
end

-- Where idempotency keys are kept: of all queues together, where one call may look at all of them.
local function memory(s)
  return ONE and s.prefix .. ':{_}' or s.base
end

-- What the key was used for, while it is remembered.
local function idempotent(s, name)
  local text = call('HGET', memory(s) .. ':idempotency', name)
  if text and unpack8(text, 1) > s.now then
    return { id = sub(text, 9, 24), fingerprint = sub(text, 25, 56), tag = sub(text, 57) }
  end
end

-- Whether another queue has a job of this id; only where one call may look at all of them.
function W.is_elsewhere(s, id)
  for _, tag in ipairs(ONE and call('HKEYS', s.prefix .. ':{_}:queues') or {}) do
    if tag ~= s.tag and call('HEXISTS', W.beside(s, tag).jobs, id) == 1 then
      return true
    end
  end
  return false
end

-- Looks for whatever would refuse one of the items, so that nothing is written if anything is.
function W.refusal(items)
  local ids, keys, uniques = {}, {}, {}
  for _, item in ipairs(items) do
    local s, n, index = item.shard, item.n, item.index
    local id = item.id
    local known = ids[id]
    if not known then
      local j = W.read_job(s, id)
      known = j and j.h
      if not known and n.is_producers and W.is_elsewhere(s, id) then
        return refuse('CONFLICT', index, id)
      end
    end
    if known then
      if not is_same(known, n) then
        return refuse('CONFLICT', index, id)
      end
    else
      local is_new = true
      if n.idempotency_key then
        local name = tenant_key(n, n.idempotency_key)
        local used = keys[name] or idempotent(s, name)
        if used and used.fingerprint ~= n.fingerprint then
          return refuse('CONFLICT', index, used.id)
        end
        is_new = not used
        keys[name] = used or { id = id, fingerprint = n.fingerprint }
      end
      if is_new and n.unique then
        local name = tenant_key(n, n.unique.key)
        local holder = uniques[s.base .. name] or holder_of(s, name)
        if holder and n.unique.on_duplicate == 'reject' then
          return refuse('DUPLICATE', index, holder.id)
        end
        uniques[s.base .. name] = holder or { id = id }
        is_new = not holder
      end
      if is_new then
        ids[id] = { fingerprint = n.is_producers and n.fingerprint or nil }
      end
    end
  end
end

-- ---------------------------------------------------------------- plain jobs

-- What jobs of this head have in common, if there is nothing to look at but their ids; nothing otherwise.
function W.plain(s, n)
  if n.common then
    return n.common
  elseif n.run_at or n.delay_ms or n.expires_at or n.unique or n.idempotency_key or n.key or n.after or n.on_success or n.on_failure or n.is_producers then
    return nil
  end
  local j = W.new_job(s, '', n, '')
  local head = cmsgpack.pack(j.h)
  n.common = { priority = j.h.priority, lane = W.lane(j), rest = concat({ char(#n.kind), n.kind, pack('>I4', #head), head }) }
  return n.common
end

-- Writes jobs that have `common` in common; `answers` from `at` on.
function W.put_plain(s, common, ids, payloads, answers, at, are_new)
  local known = are_new and {} or W.fields(s.jobs, ids)
  local jobs, scores, places = {}, {}, {}
  local pos = s:next_pos(#ids)
  local seen = {}
  for i = 1, #ids do
    local id = ids[i]
    if known[i] then
      local _, j = W.state_of(s, id)
      answers[at + i - 1] = answer(id, j and (j.state == 's' or j.state == 'p') and j.state or 'q', false)
    else
      if not seen[id] then
        local position, n = pack8(pos), #places
        jobs[2 * n + 1], jobs[2 * n + 2] = id, concat({ '\0q', position, common.rest, payloads[i] })
        scores[2 * n + 1], scores[2 * n + 2] = '0', id
        places[n + 1] = position .. id
        pos = pos + 1
        seen[id] = true
      end
      answers[at + i - 1] = answer(id, 'q', false)
    end
  end
  if #places > 0 then
    W.spread('HSET', s.jobs, jobs, 2)
    W.spread('ZADD', s.ids, scores, 2)
    W.append(s, common.priority, common.lane, places)
    s:count('queued', #places)
  end
end

-- ---------------------------------------------------------------- any job

-- What is left open falls back to the kind's settings. A time in the past is due now: the wait is measured from here, not from
-- what the producer's clock thought.
function W.new_job(s, id, n, payload)
  local k = s:kind(n.kind)
  local due = n.run_at or W.plus_ms(s.now, n.delay_ms or 0)
  local j = { id = id, kind = n.kind, payload = payload, pos = 0, h = {
    tenant = n.tenant, priority = n.priority or k.priority, created_at = s.now, run_at = max(due, s.now), expires_at = n.expires_at,
    timeout_ms = n.timeout_ms or k.timeout_ms, max_attempts = n.max_attempts or k.max_attempts,
    unique = n.unique and n.unique.key, held = n.unique and n.unique.held, key = n.key, ordered = n.ordered or nil,
    fingerprint = n.is_producers and n.fingerprint or nil, tags = n.tags, event_time = n.event_time, meta = n.meta,
    on_success = n.on_success, on_failure = n.on_failure, parent = n.parent, schedule = n.schedule, after = n.after,
    idempotency_key = n.idempotency_key } }
  W.set_lane(s, j)
  return j
end

function W.enqueue_one(s, id, n, payload)
  if call('HEXISTS', s.jobs, id) == 1 then
    local state = W.state_of(s, id)
    return answer(id, (state == 'scheduled' and 's') or (state == 'parked' and 'p') or 'q', false)
  end
  local name = n.idempotency_key and tenant_key(n, n.idempotency_key)
  local used = name and idempotent(s, name)
  if used then
    return answer(used.id, W.letter(W.state_of(ONE and W.beside(s, used.tag) or s, used.id)), true)
  end
  local j = W.new_job(s, id, n, payload)
  if n.unique then
    local holder = holder_of(s, tenant_key(n, n.unique.key))
    if holder then
      return W.meet_holder(s, holder, j, n.unique)
    end
    take_unique(s, n, id)
  end
  if name then
    local till = W.plus_ms(s.now, n.idempotency_ms)
    call('HSET', memory(s) .. ':idempotency', name, concat({ pack8(till), id, n.fingerprint, s.tag }))
    call('ZADD', memory(s) .. ':forget', till, name)
  end
  call('ZADD', s.ids, 0, id)
  if j.h.expires_at then
    call('ZADD', s.expiries, j.h.expires_at, id)
  end
  return answer(id, W.put_job(s, j), false)
end

local LETTERS = { scheduled = 's', queued = 'q', running = 'r', parked = 'p', completed = 'c', cancelled = 'x', dead = 'd' }

function W.letter(state)
  return LETTERS[state] or 'c'
end

-- A job that stands nowhere gets its first place; answers the letter of its state.
function W.put_job(s, j, kept_pos)
  s:enrol()
  if j.h.after then
    W.park(s, j, 'dependency', W.plus_ms(s.now, s:kind(j.kind).park_for_ms))
    W.put_parents(s, j)
    s:count('parked', 1)
    return 'p'
  elseif j.h.run_at > s.now then
    W.schedule(s, j, j.h.run_at)
    s:count('scheduled', 1)
    return 's'
  end
  s:count('queued', 1)
  if kept_pos then
    j.pos = kept_pos
    if not j.h.key or W.admit(s, j, false) then
      W.put_among_heads(s, j)
    end
  else
    j.pos = s:next_pos(1)
    W.place(s, j)
  end
  return 'q'
end

-- Another job holds the key.
function W.meet_holder(s, holder, j, unique)
  if (unique.on_duplicate == 'replace' or unique.on_duplicate == 'debounce') and holder.live and holder.held == 's' then
    local due = j.h.run_at
    if unique.on_duplicate == 'debounce' then
      due = max(min(due, W.plus_ms(holder.first_at, unique.debounce_max_ms)), s.now)
    end
    local state = W.swap(s, holder.id, j, due)
    if state then
      return answer(holder.id, state, true)
    end
  end
  return answer(holder.id, W.letter(W.state_of(s, holder.id)), true)
end

-- Gives a job that has not started another payload and other options; it keeps its id, and its position if it stays due.
function W.swap(s, id, j, due)
  local state, old = W.state_of(s, id)
  if not old or state == 'running' then
    return nil
  end
  W.displace(s, old)
  W.drop_parents(s, id)
  s:count(state, -1)
  local kept = state == 'queued' and old.pos or nil
  j.id, j.h.tenant, j.h.created_at, j.h.run_at = id, old.h.tenant, old.h.created_at, due
  for _, name in ipairs({ 'attempt', 'attempts', 'deaths', 'unique', 'held', 'fingerprint', 'checkpoint', 'settled' }) do
    j.h[name] = old.h[name]
  end
  W.set_lane(s, j)
  if j.h.expires_at then
    call('ZADD', s.expiries, j.h.expires_at, id)
  end
  local letter = W.put_job(s, j, kept)
  s.work = true
  if letter == 'p' then
    return W.letter(W.look_at_parents(s, j))
  end
  return letter
end

-- The random part of the ids that are minted here: drawn once, then counted up, so that no clock that goes back can bring one again.
-- Nothing here is random but the place of a table in memory and the instant of the first call.
local stem, counted

-- A UUIDv7 of this instant.
function W.mint(s)
  if not stem then
    local hex = redis.sha1hex(concat({ tostring(W), s.base, string.format('%.0f', s.now) }, ' '))
    local random = tonumber(sub(hex, 1, 8), 16)
    stem = char(0x70 + random % 16, floor(random / 16) % 256, 0x80 + floor(random / 4096) % 64) .. sub(pack('>I4', tonumber(sub(hex, 9, 16), 16)), 2)
    counted = tonumber(sub(hex, 17, 24), 16)
  end
  counted = (counted + 1) % 4294967296
  return sub(pack8(floor(s.now / 1000)), 3) .. stem .. pack('>I4', counted)
end

-- ---------------------------------------------------------------- the call

-- Takes in what `each` brings, job by job: its shard, its id, its head and its payload. Those that share a head and hold nothing are
-- written together; `read` makes of a head what the producer said. `are_new`: their ids were minted by this call.
function W.take_in(each, read, answers, are_new)
  local s, common, last, ids, payloads, at = nil, nil, nil, {}, {}, 1
  local waits = {}
  local function flush()
    if #ids > 0 then
      W.put_plain(s, common, ids, payloads, answers, at, are_new)
      at, ids, payloads = at + #ids, {}, {}
    end
  end
  for shard, id, head, payload in each do
    if head ~= last or shard ~= s then
      flush()
      s, last, common = shard, head, W.plain(shard, read(head))
    end
    if common then
      ids[#ids + 1], payloads[#payloads + 1] = id, payload
    else
      local n = read(head)
      local is_new = n.after and call('HEXISTS', s.jobs, id) == 0
      answers[at] = W.enqueue_one(s, id, n, payload)
      if is_new then
        waits[#waits + 1] = { at, s }
      end
      at = at + 1
    end
  end
  flush()
  -- Dependencies last, so that a job may wait for one that stands behind it in the same call.
  for _, wait in ipairs(waits) do
    local place, shard = wait[1], wait[2]
    local id = sub(answers[place], 3)
    local j = sub(answers[place], 1, 2) == '0p' and W.read_job(shard, id)
    if j and j.state == 'p' then
      answers[place] = answer(id, W.letter(W.look_at_parents(shard, j)), false)
    end
  end
end

-- Jobs as the driver packs them: of each, the number of its shard, its id, its head and its payload, from `from` on.
function W.packed_jobs(shards, args, from)
  local i = from - 4
  return function()
    i = i + 4
    if args[i] then
      return shards[tonumber(args[i])], args[i + 1], args[i + 2], args[i + 3]
    end
  end, cmsgpack.unpack
end
