-- A shard in one call: opened with what most calls look at, closed with what they changed.

local DEFAULT_KIND = { queue = 'default', priority = 5, max_attempts = 5, timeout_ms = 300000, on_expire = 'cancel', park_for_ms = 604800000 }
local DEFAULT_QUEUE = { key_concurrency = 1, fair = true, tenant_weights = {}, on_head = 'block' }
-- The settings last read, so that they are decoded once a change and not once a call; and the queues' rules as they follow from them.
local known = { text = '{}', settings = { queues = {}, kinds = {} }, rules = {}, places = {} }

local Shard = {}
Shard.__index = function(s, name)
  local of = Shard[name]
  if of ~= nil then
    return of
  end
  -- Any other name is a key: `s.jobs` is `<base>:jobs`.
  local key = s.base .. ':' .. name
  rawset(s, name, key)
  return key
end

-- Those that the call has to do with.
local opened = {}

function W.begin(keys, now)
  opened = {}
  for _, base in ipairs(keys) do
    W.at(base, now)
  end
  return opened[keys[1]]
end

function W.at(base, now)
  local s = opened[base]
  if not s then
    s = W.open(base, now)
    opened[base] = s
  end
  return s
end

-- The shard of this tag beside `s`, where one call may touch both.
function W.beside(s, tag)
  return W.at(s.prefix .. ':{' .. tag .. '}', s.now)
end

-- One may wake another.
function W.finish()
  local is_dirty = true
  while is_dirty do
    is_dirty = false
    for _, s in pairs(opened) do
      is_dirty = is_dirty or next(s.refills) ~= nil
      W.close(s)
    end
  end
  opened = {}
end

function W.open(base, now)
  local prefix, tag = match(base, '^(.*):{(.*)}$')
  return setmetatable({ base = base, prefix = prefix or base, tag = tag, now = now, moved = {}, lanes = {}, gates = {}, refills = {},
    work = false, cancelled = false }, Shard)
end

-- Lets in who may come, at all gates of which somebody left. While the rules are new they may be very many; the look at all gates goes on with
-- the others.
function W.refill_all(s)
  while next(s.refills) do
    local keys = s.refills
    local most = call('EXISTS', s.anew) == 1 and BATCH or nil
    s.refills = {}
    for key in pairs(keys) do
      W.refill(s, key, most)
    end
  end
end

-- Everything that a call leaves for its end.
function W.close(s)
  W.refill_all(s)
  for state, jobs in pairs(s.moved) do
    if jobs ~= 0 then
      call('HINCRBY', s.base, state, jobs)
    end
  end
  for lane, jobs in pairs(s.lanes) do
    if jobs ~= 0 and call('HINCRBY', s.slots, lane, jobs) <= 0 then
      call('HDEL', s.slots, lane)
    end
  end
  s.moved, s.lanes = {}, {}
  if s.work and call('HDEL', s.base, 'asleep') == 1 then
    call('PUBLISH', s.prefix .. ':' .. CHANNEL, 'work')
  end
  if s.cancelled then
    call('PUBLISH', s.prefix .. ':' .. CHANNEL, 'cancel')
  end
end

-- Gives a shard its number, by which a lease tells where it is from.
function W.enrol(prefix, tag)
  local common = prefix .. ':{_}'
  local number = call('HGET', common .. ':queues', tag)
  if not number then
    number = call('HINCRBY', common, 'queues', 1)
    call('HSET', common .. ':queues', tag, number)
  end
  return number
end

-- What is configured from now on, if it still is what it was before; by the act `op`, if it is one. Answers 0 where it is not, and 2 where the
-- act was done before and is not done again: others may have been since.
function W.put_settings(base, before, after, op)
  local key = base .. ':settings'
  local is = call('GET', key) or ''
  if is ~= before and is ~= after then
    return 0
  elseif op and not W.audit(base, op) then
    return is == after and 1 or 2
  end
  call('SET', key, after)
  return 1
end

-- Where holders are that run a suspect: none runs two, whatever their queues.
function Shard.alone_in(s)
  return (ONE and s.prefix .. ':{_}' or s.base) .. ':alone'
end

-- A queue is known from its first job on. In a cluster the list of all is on another server: a daemon is told, and puts it there.
function Shard.enrol(s)
  if call('HSETNX', s.base, 'known', 1) == 0 then
    return
  elseif ONE then
    W.enrol(s.prefix, s.tag)
  else
    call('PUBLISH', s.prefix .. ':' .. CHANNEL, 'queue ' .. s.tag)
  end
end

-- While its slot moves to another server, some of a queue's keys are here and some there. Neither server then answers about two keys that are
-- not there; the one that it moves to would answer, and write, about one. Answers what to say then, before anything was written.
function W.is_moving(keys)
  if ONE or not keys[1] then
    return nil
  end
  local answered = redis.pcall('EXISTS', keys[1] .. ':none', keys[1] .. ':neither')
  return type(answered) == 'table' and answered.err
    and redis.error_reply('WINDLASS_MOVING the slot of this queue moves to another server; try again')
end

function Shard.count(s, state, jobs)
  s.moved[state] = (s.moved[state] or 0) + jobs
end

function Shard.move(s, from, to)
  s:count(from, -1)
  s:count(to, 1)
end

-- So many more jobs of the lane run, or fewer.
function Shard.run(s, lane, jobs)
  if lane ~= '' then
    s.lanes[lane] = (s.lanes[lane] or 0) + jobs
  end
end

function Shard.running_in(s, lane)
  return tonumber(call('HGET', s.slots, lane) or 0) + (s.lanes[lane] or 0)
end

function Shard.running(s)
  return tonumber(call('HGET', s.base, 'running') or 0) + (s.moved.running or 0)
end

-- Whoever takes a position is queued from then on: it counts once for both.
function Shard.next_pos(s, n)
  s:count('queued', -n)
  local first = call('HINCRBY', s.base, 'pos', n) - n + 1
  if first == 1 then
    s:enrol()
  end
  return first
end

-- What is configured, as the daemon that configured it last wrote it.
local function settings_of(s)
  if not rawget(s, 'set') then
    local text = call('GET', (ONE and s.prefix .. ':{_}' or s.base) .. ':settings') or '{}'
    if text ~= known.text then
      local settings = cjson.decode(text)
      settings.queues = settings.queues or {}
      settings.kinds = settings.kinds or {}
      known = { text = text, settings = settings, rules = {}, places = {} }
    end
    rawset(s, 'set', known.settings)
  end
  return s.set
end

local function or_default(value, default)
  if value == nil or value == cjson.null then
    return default
  end
  return value
end

-- The same table as long as nothing is configured anew.
function Shard.settings_now(s)
  return settings_of(s)
end

function Shard.is_paused(s)
  local till = call('HGET', s.base, 'pause_until')
  -- Those of earlier releases last until they are resumed.
  return till and (tonumber(till) or huge) > s.now or not till and call('HEXISTS', s.base, 'pause') == 1
end

-- Bytes that a payload may have.
function Shard.payload_bytes(s)
  return settings_of(s).payload_bytes or 1048576
end

function Shard.kind(s, kind)
  return settings_of(s).kinds[kind] or DEFAULT_KIND
end

-- How many partitions a queue has, if more than one.
function W.partitions_of(s, queue)
  local of = settings_of(s).queues[queue]
  local partitions = of and or_default(of.partitions, 1) or 1
  return partitions > 1 and partitions or nil
end

-- Which queue the shard is of; of one with partitions, how many these are and which it is. It is none of them where the number is missing or
-- too high: there stands what came when the queue had another number of partitions.
function Shard.place(s)
  settings_of(s)
  local place = known.places[s.tag]
  if not place then
    local queue, partition = match(s.tag, '^(.*):(%d+)$')
    local partitions = queue and W.partitions_of(s, queue)
    if partitions then
      place = { queue = queue, partition = tonumber(partition), partitions = partitions }
    else
      place = { queue = s.tag, partitions = W.partitions_of(s, s.tag) }
    end
    known.places[s.tag] = place
  end
  return place
end

-- A partition's share of what all of them may have together; at least one.
local function share(whole, place)
  whole = or_default(whole, nil)
  if not whole or not place.partitions then
    return whole
  end
  local rest = whole % place.partitions > (place.partition or 0) and 1 or 0
  return max(floor(whole / place.partitions) + rest, 1)
end

local function rate_of(r, place)
  r = or_default(r, nil)
  local partitions = place and place.partitions or 1
  return r and { interval = max(math.ceil(1000000 * partitions / r.per_second), 1), burst = max(floor(r.burst / partitions), 1) }
end

-- What holds for one key holds for its partition as a whole.
local function rules_of(of, place)
  return {
    concurrency = share(of.concurrency, place), key_concurrency = max(or_default(of.key_concurrency, 1), 1), rate = rate_of(of.rate, place),
    key_rate = rate_of(of.key_rate), tenant_concurrency = share(of.tenant_concurrency, place), fair = or_default(of.fair, true),
    weights = or_default(of.tenant_weights, {}), skip = of.on_head == 'skip',
  }
end

-- The queue's own rules, with nil for what is not limited.
function Shard.rules(s)
  if not rawget(s, 'rule') then
    local place = s:place()
    known.rules[place] = known.rules[place] or rules_of(settings_of(s).queues[place.queue] or DEFAULT_QUEUE, place)
    rawset(s, 'rule', known.rules[place])
  end
  return s.rule
end

-- GCRA: the theoretical arrival time moves on by one interval a start, and may run ahead of the clock by the burst.
function W.rate_admits(rate, tat, now)
  local ahead = rate.interval * (rate.burst - 1)
  local base = max(tat, now)
  if base > now + ahead then
    return 0
  end
  return floor((now + ahead - base) / rate.interval) + 1
end

function W.rate_spend(rate, tat, now, starts)
  return max(tat, now) + rate.interval * starts
end

-- An arrival time that a slower rate left behind does not hold up a faster one: nothing of the burst is left, and no more is owed. What is within
-- a second of that is of this rate, and of a clock that was read a moment earlier.
function W.rate_keeps(rate, tat, now)
  local most = now + rate.interval * rate.burst
  return tat > most + 1000000 and most or tat
end

function W.rate_opens(rate, tat)
  return tat - rate.interval * (rate.burst - 1)
end
