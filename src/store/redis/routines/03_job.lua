-- A job as it is stored: flags, state, position, kind, head and payload.
--
--   1 flags (1: a lease must look closer)   2 state   3-10 position   11 length of the kind, kind   4 length of the head, head   payload
--
-- The state is where it stands: s scheduled, p parked; queued: q in its line's list, h among its heads, g behind its gate,
-- b behind an ordered job, u suspect. One that runs says where it stood. The head is MessagePack, a map whose names are in
-- rows.rs; nobody here looks into the payload.

function W.decode(id, blob)
  local kind = byte(blob, 11)
  local length = unpack_('>I4', blob, 12 + kind)
  local at = 16 + kind
  return {
    id = id, state = sub(blob, 2, 2), pos = unpack8(blob, 3), kind = sub(blob, 12, 11 + kind),
    h = cmsgpack.unpack(sub(blob, at, at + length - 1)), payload = sub(blob, at + length),
  }
end

local function encode(j)
  local h = j.h
  local care = (h.expires_at or h.key or h.unique or h.on_success or h.on_failure) and 1 or 0
  local head = cmsgpack.pack(h)
  return concat({ char(care), j.state, pack8(j.pos or 0), char(#j.kind), j.kind, pack('>I4', #head), head, j.payload })
end

local function is_count(value)
  return value == nil or type(value) == 'number' and value >= 0 and value == floor(value)
end

-- What is wrong with a job that was taken apart, if anything is.
local function fault(j)
  local h = j.h
  if not STATES[j.state] then
    return 'state: none of ours'
  elseif not W.is_name(j.kind) then
    return 'kind: not a name'
  elseif type(h) ~= 'table' then
    return 'head: not a map'
  elseif not is_count(h.priority) or not h.priority or h.priority > 9 then
    return 'priority: not 0 to 9'
  elseif h.tenant and not (type(h.tenant) == 'string' and W.is_name(h.tenant)) then
    return 'tenant: not a name'
  elseif h.key and not (type(h.key) == 'string' and W.is_name(h.key)) then
    return 'concurrency_key: not a name'
  end
  for _, name in ipairs({ 'attempt', 'deaths', 'created_at', 'run_at', 'expires_at', 'max_attempts' }) do
    if not is_count(h[name]) then
      return name .. ': not a count'
    end
  end
end

local function read(id, blob)
  local ok, job = pcall(W.decode, id, blob)
  local wrong = not ok and 'head: ' .. tostring(job) or fault(job)
  if wrong then
    return nil, wrong
  end
  return job
end

function W.read_job(s, id)
  local blob = call('HGET', s.jobs, id)
  if not blob then
    return nil
  end
  local job, reason = read(id, blob)
  if not job then
    W.quarantine(s, id, blob, reason)
  end
  return job
end

function W.write_job(s, j)
  call('HSET', s.jobs, j.id, encode(j))
end

-- Out of everybody's way, with its place, its turn and its key, as far as they can be known.
function W.quarantine(s, id, blob, reason)
  local row = cjson.encode({ at = string.format('%.0f', s.now), place = 'jobs', reason = reason, row = W.hex(id) .. ' ' .. W.printable(sub(blob, 1, 65536)) })
  call('RPUSH', s.quarantined, row)
  call('HDEL', s.jobs, id)
  call('ZREM', s.ids, id)
  for _, set in ipairs({ s.due, s.parks, s.expiries, s.suspects }) do
    call('ZREM', set, id)
  end
  local state = STATES[sub(blob, 2, 2)]
  s:count((state == 'scheduled' or state == 'parked') and state or 'queued', -1)
  local ok, j = pcall(W.decode, id, blob)
  local h = ok and type(j.h) == 'table' and j.h or {}
  if type(h.key) == 'string' then
    W.leave_gate(s, j)
  end
  if type(h.unique) == 'string' then
    W.unique_lost(s, tostring(h.tenant or ''), h.unique, id)
  end
  W.drop_parents(s, id)
  W.tell_children(s, id)
end

-- The same for one that was just leased, which the daemon cannot read.
function W.quarantine_leased(s, id, epoch, place, reason)
  local blob, claim = call('HGET', s.jobs, id), W.claim(s, epoch)
  if blob and claim and claim:holds(place, id) then
    s:move('running', 'queued')
    s:run(claim:lane(place), -1)
    claim:drop({ place })
    W.quarantine(s, id, blob, reason)
  end
end

-- Each byte in hexadecimal, and back.
local HEX, UNHEX = {}, {}
for n = 0, 255 do
  local hex = string.format('%02x', n)
  HEX[char(n)], UNHEX[hex] = hex, char(n)
end

function W.hex(text)
  return (string.gsub(text, '.', HEX))
end

function W.unhex(text)
  return (string.gsub(string.lower(text), '%x%x', UNHEX))
end

-- Those of one call differ in their ends only.
local front, front_text
local FRONT, END = string.gsub('xxxx-xx-xx-xx-xx', 'x', '%%02x'), '%02x%02x%02x%02x'

function W.uuid(id)
  local of = sub(id, 1, 12)
  if of ~= front then
    front, front_text = of, string.format(FRONT, byte(of, 1, 12))
  end
  return front_text .. string.format(END, byte(id, 13, 16))
end

-- RFC 3339, from days since 1970 by Howard Hinnant's `civil_from_days`.
function W.rfc3339(us)
  local seconds = floor(us / 1000000)
  local days = floor(seconds / 86400)
  local rest = seconds - days * 86400
  local z = days + 719468
  local era = floor(z / 146097)
  local doe = z - era * 146097
  local yoe = floor((doe - floor(doe / 1460) + floor(doe / 36524) - floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + floor(yoe / 4) - floor(yoe / 100))
  local mp = floor((5 * doy + 2) / 153)
  local month = mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400 + (month <= 2 and 1 or 0)
  return string.format('%04d-%02d-%02dT%02d:%02d:%02d.%06dZ', year, month, doy - floor((153 * mp + 2) / 5) + 1, floor(rest / 3600),
    floor(rest / 60) % 60, rest % 60, us - seconds * 1000000)
end

function W.is_name(text)
  return #text <= 128 and find(text, '^%w[%w_.:-]*$') ~= nil
end

function W.printable(text)
  return (string.gsub(text, '[^\32-\126]', '?'))
end

-- The lane of the line that it stands in, or stood in when it was leased.
function W.lane(j)
  return j.h.lane or j.h.tenant or ''
end

local function set_lane(s, j)
  j.h.lane = nil
  if j.h.tenant and not s:rules().fair then
    j.h.lane = ''
  end
end
W.set_lane = set_lane

-- The list of records with one more, the oldest dropped. An error is JSON.
function W.add_record(j, started_at, ended_at, holder, outcome, error_, retry_at)
  local records = j.h.attempts or {}
  records[#records + 1] = concat({ '{"number":', (j.h.attempt or 0) + 1, ',"started_at":"', W.rfc3339(started_at), '","ended_at":"', W.rfc3339(ended_at),
    '","holder":"', W.uuid(holder), '","outcome":"', outcome, '"', error_ and ',"error":' .. error_ or '',
    retry_at and ',"retry_at":"' .. W.rfc3339(retry_at) .. '"' or '', '}' })
  if #records > 20 then
    table.remove(records, 1)
  end
  j.h.attempts = records
end
