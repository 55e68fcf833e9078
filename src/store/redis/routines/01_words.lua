-- Windlass on Redis: one library of functions, which is these files one behind the other. It belongs to the daemon.
--
-- A queue's partition is a *shard*: keys that begin with `<prefix>:{<queue>}`, all in one slot, and every call names that base as
-- its key. Times are microseconds since 1970. An id is the 16 bytes of a UUID.
--
--   <base>                hash    counters: `pos`, `epoch`, jobs in each state (`queued` less `pos`); `asleep`; `tat` of the queue's rate; `pause`;
--                                 `clock:<priority>`, the virtual time that a line joins at when it stops being empty
--   <base>:jobs           hash    id -> the job as it stands while it lives, and as it stood when it ended
--   <base>:ends           hash    id -> how it ended, of final jobs
--   <base>:ids            zset    ids of all that is in `jobs`, in their own order
--   <base>:fin            list    finished_at and ids of completed and cancelled jobs that ended together, in the order in which they ended
--   <base>:dead           zset    dead letters by id;  <base>:died by the time
--   <base>:due, :parks, :expiries, :opening      zsets    what time brings: scheduled jobs, ends of parks, of patience, gates
--   <base>:line:<priority>:<lane>     list   position and id; the lane is the tenant, or nothing in an unfair queue
--   <base>:heads:<priority>:<lane>    zset   jobs of that line that came (back) to an older position
--   <base>:levels         set     priorities that any line ever had
--   <base>:open:<priority>            zset   lines in which somebody waits, by virtual time;  <base>:vt:<priority> of the others
--   <base>:shut           set     lanes that are at their tenant's cap;  <base>:slots hash: lane -> jobs that run
--   <base>:suspects       zset    jobs that run alone, by position
--   <base>:claims         hash    what is leased, and <base>:claim:<epoch>: in their own file
--   <base>:holders        hash    holder -> until, node
--   <base>:cancels, :progress         hashes  of running jobs
--   <base>:key:<key>      hash    a concurrency key's gate (`<tenant>/<key>` where there is a tenant): head, tat, opens, holds;  :key-line:, :key-wait:, :key-behind: zsets, :key-run: set
--   <base>:gated          zset    keys whose gates hold somebody back;  <base>:anew hash: while the rules are new, the last of these that was looked at, and the rounds to go
--   <base>:uniques        hash    tenant and key -> who holds it;  <base>:windows zset: those that only time holds
--   <base>:idempotency    hash    tenant and key -> id, fingerprint, until;  <base>:forget zset;  on one server under `{_}`
--   <base>:children:<id>  set     jobs that wait for this one;  <base>:parents:<id> set: those it waits for
--   <base>:tokens         hash    of a parked job: token -> id;  <base>:unknown:<kind> set: jobs parked for want of a worker
--   <base>:usage          hash;  <base>:quarantined list;  the audit's keys in its own file
--
-- What belongs to no queue has the base `<prefix>:{_}`: `settings`, `queues` (their numbers), `waiting` (jobs with parents), `alone`
-- (holder -> the suspect it runs), `records`, `sends`, `cache` and `cached`, `access_tokens`, `access_ends` and `access_told` (who may call the control port, until
-- when, and when it was told to end, by the tokens' ids); schedules in their own file.
--
-- A job's place in a list is not looked for when it leaves it: the job says where it stands, and whoever comes upon its former
-- place finds that it does not.

-- Nothing but the names is there while the library is loaded; the rest is made by the first call.
local function library()

local W = {}

local call, pack, unpack_ = redis.call, struct.pack, struct.unpack
local sub, byte, char, find, match, concat = string.sub, string.byte, string.char, string.find, string.match, table.concat
local floor, min, max, huge = math.floor, math.min, math.max, math.huge

-- On one server a call may touch every queue.
local ONE = {one}
local CHANNEL = 'wake'

-- What the end of a lease must look at, kept in the claim so that a plain end reads no job.
local UNIQUE, ENDS, SUSPECT, ORDERED, KEYED = 1, 2, 4, 8, 16
-- Virtual time of one grant at weight 1: divisible by all small weights.
local STEP = 720720
-- A score is exact up to 2^53: priority above, position below.
local RANK = 2 ^ 48
-- Arguments of one call to Redis: `unpack` takes less than 8,000.
local CHUNK = 500
-- Rows that one call moves, so that nobody else waits long.
local BATCH = 1000
-- Gates that one call looks at when their rules are new, in each shard.
local GATES = 100
local STATES = { s = 'scheduled', p = 'parked', q = 'queued', h = 'queued', g = 'queued', b = 'queued', u = 'queued',
  c = 'completed', x = 'cancelled', d = 'dead' }

function W.clock(given)
  if given ~= '' then
    return tonumber(given)
  end
  local t = call('TIME')
  return t[1] * 1000000 + t[2]
end

local function pack8(n)
  return pack('>I8', n)
end

local function unpack8(text, at)
  return (unpack_('>I8', text, at))
end

local function has(flags, flag)
  return floor(flags / flag) % 2 == 1
end

-- Calls `command key` with a list of any length, `width` arguments of which belong together.
function W.spread(command, key, list, width)
  local step = CHUNK - CHUNK % (width or 1)
  for i = 1, #list, step do
    call(command, key, unpack(list, i, min(i + step - 1, #list)))
  end
end

-- `fields` of a hash, however many, in a list with false where there is none.
function W.fields(key, fields)
  if #fields <= CHUNK then
    return call('HMGET', key, unpack(fields))
  end
  local values = {}
  for i = 1, #fields, CHUNK do
    local some = call('HMGET', key, unpack(fields, i, min(i + CHUNK - 1, #fields)))
    for n = 1, #some do
      values[i + n - 1] = some[n]
    end
  end
  return values
end

function W.plus_ms(t, ms)
  return t + ms * 1000
end
