-- Jobs come in, in groups: those of one group go to one shard and have the same head, and each its id and its payload.

-- Whether it is a duplicate, the letter of its state; and of a duplicate, whose.
local function answer(id, state, is_duplicate)
  return is_duplicate and '1' .. state .. id or '0' .. state
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

-- Another job that has the key of job `j`.
function W.other_holder(s, j)
  local u = holder_of(s, tenant_key(j.h, j.h.unique))
  return u and u.id ~= j.id and W.uuid(u.id) or nil
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

-- What would refuse this job, if anything does. `seen`: what those before it bring.
local function refusal_of(s, n, id, index, seen)
  local known = seen.ids[id]
  if not known then
    local j = W.read_job(s, id)
    known = j and j.h
    if not known and n.is_producers and W.is_elsewhere(s, id) then
      return refuse('CONFLICT', index, id)
    end
  end
  if known then
    return not is_same(known, n) and refuse('CONFLICT', index, id) or nil
  end
  local name = n.idempotency_key and tenant_key(n, n.idempotency_key)
  local used = name and (seen.keys[name] or idempotent(s, name))
  if used and used.fingerprint ~= n.fingerprint then
    return refuse('CONFLICT', index, used.id)
  elseif used then
    return nil
  elseif name then
    seen.keys[name] = { id = id, fingerprint = n.fingerprint }
  end
  if n.unique then
    local unique = s.base .. tenant_key(n, n.unique.key)
    local holder = seen.uniques[unique] or holder_of(s, tenant_key(n, n.unique.key))
    if holder and n.unique.on_duplicate == 'reject' then
      return refuse('DUPLICATE', index, holder.id)
    end
    seen.uniques[unique] = holder or { id = id }
    if holder then
      return nil
    end
  end
  seen.ids[id] = { fingerprint = n.is_producers and n.fingerprint or nil }
end

-- Looks for whatever would refuse one of the jobs, so that nothing is written if anything is.
function W.refusal(groups)
  local index, seen = -1, { ids = {}, keys = {}, uniques = {} }
  for _, group in ipairs(groups) do
    for _, id in ipairs(group.ids) do
      index = index + 1
      local refused = refusal_of(group.shard, group.n, id, index, seen)
      if refused then
        return refused
      end
    end
  end
end

-- ---------------------------------------------------------------- plain jobs

-- Stands in a head for the instant of the call.
local NOW = 2 ^ 52 + 1
local NOW_PACKED = pack8(NOW)

-- What jobs of this head have in common, if there is nothing to look at but their ids; nothing otherwise. It stays while the settings do: only
-- the instant is another in each call.
function W.plain(s, n)
  local common, settings = n.common, s:settings_now()
  if common and common.settings == settings then
    common.rest = concat(common.parts, pack8(s.now))
    return common
  elseif n.run_at or n.delay_ms or n.expires_at or n.unique or n.idempotency_key or n.key or n.after or n.on_success or n.on_failure or n.is_producers then
    return nil
  end
  local j = W.new_job(s, '', n, '')
  j.h.created_at, j.h.run_at = NOW, NOW
  local head = cmsgpack.pack(j.h)
  common = { settings = settings, priority = j.h.priority, lane = W.lane(j), parts = {} }
  local text, at = concat({ char(#n.kind), n.kind, pack('>I4', #head), head }), 1
  repeat
    local from, stop = find(text, NOW_PACKED, at, true)
    common.parts[#common.parts + 1] = sub(text, at, (from or 0) - 1)
    at = (stop or 0) + 1
  until not from
  n.common = common
  return W.plain(s, n)
end

-- Writes jobs that have `common` in common; `answers` from `at` on.
function W.put_plain(s, common, ids, payloads, answers, at, are_new)
  local known = are_new and {} or W.fields(s.jobs, ids)
  local jobs, scores, places = {}, {}, {}
  local pos = s:next_pos(#ids)
  local seen, rest, n = {}, common.rest, 0
  for i = 1, #ids do
    local id = ids[i]
    answers[at + i - 1] = '0q'
    if known[i] then
      local _, j = W.state_of(s, id)
      answers[at + i - 1] = answer(id, j and (j.state == 's' or j.state == 'p') and j.state or 'q', false)
    elseif not seen[id] then
      local position = pack8(pos + n)
      n, seen[id] = n + 1, true
      jobs[2 * n - 1], jobs[2 * n] = id, '\0q' .. position .. rest .. payloads[i]
      scores[2 * n - 1], scores[2 * n] = '0', id
      places[n] = position .. id
    end
  end
  if n > 0 then
    W.spread('HSET', s.jobs, jobs, 2)
    W.spread('ZADD', s.ids, scores, 2)
    W.append(s, common.priority, common.lane, places)
    s:count('queued', n)
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
  for _, name in ipairs({ 'attempt', 'attempts', 'deaths', 'unique', 'held', 'fingerprint', 'checkpoint', 'settled', 'children' }) do
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

-- Takes in all jobs of the groups, in their order. Those of a group that hold nothing are written together. `are_new`: their ids were minted by
-- this call.
function W.take_in(groups, answers, are_new)
  local waits = {}
  for _, group in ipairs(groups) do
    local s, n, ids, at = group.shard, group.n, group.ids, #answers
    local common = W.plain(s, n)
    if common then
      W.put_plain(s, common, ids, group.payloads, answers, at + 1, are_new)
    else
      for i, id in ipairs(ids) do
        local is_new = n.after and call('HEXISTS', s.jobs, id) == 0
        answers[at + i] = W.enqueue_one(s, id, n, group.payloads[i])
        if is_new and answers[at + i] == '0p' then
          waits[#waits + 1] = { at = at + i, shard = s, id = id }
        end
      end
    end
  end
  -- Dependencies last, so that a job may wait for one that stands behind it in the same call.
  for _, wait in ipairs(waits) do
    local j = W.read_job(wait.shard, wait.id)
    if j and j.state == 'p' then
      answers[wait.at] = answer(wait.id, W.letter(W.look_at_parents(wait.shard, j)), false)
    end
  end
end

-- The groups as the driver packs them, from `from` on: of each the number of its shard, its head, how many they are, and their ids and payloads.
function W.packed_groups(shards, args, from)
  local groups, at = {}, from
  while args[at] do
    local ids, payloads, n = {}, {}, tonumber(args[at + 2])
    local first = at + 1
    for i = 1, n do
      ids[i], payloads[i] = args[first + 2 * i], args[first + 2 * i + 1]
    end
    groups[#groups + 1] = { shard = shards[tonumber(args[at])], n = cmsgpack.unpack(args[at + 1]), ids = ids, payloads = payloads }
    at = at + 3 + 2 * n
  end
  return groups
end

-- Whether something that is there already may refuse one of them: nothing of jobs whose ids a door minted, and that hold no key.
function W.may_be_refused(groups)
  for _, group in ipairs(groups) do
    local n = group.n
    if n.is_producers or n.idempotency_key or n.unique then
      return true
    end
  end
  return false
end
