-- The envelope's rules as the door for producers keeps them: those of `job::envelope`, in the same order and with the same sentences;
-- tests/store/redis_door runs one corpus through both.

local fault = W.fault
local DELAY_MS, TIMEOUT_MS, MAX_ATTEMPTS, PRIORITY, TAGS, AFTER, META_BYTES, DEPTH = 316224000000, 86400000, 1000, 9, 20, 100, 4096, 8
local IDEMPOTENCY_MS = 86400000
local ORDER = { 'kind', 'payload', 'id', 'queue', 'tenant', 'priority', 'run_at', 'delay_ms', 'expires_at', 'timeout_ms', 'max_attempts', 'unique_key',
  'unique_for', 'on_duplicate', 'debounce_max_ms', 'idempotency_key', 'concurrency_key', 'ordered', 'tags', 'event_time', 'after', 'on_success', 'on_failure',
  'account', 'meta' }

-- ---------------------------------------------------------------- words

-- Characters, not bytes.
local function characters(text)
  local list = {}
  for c in string.gmatch(text, '[%z\1-\127\194-\244][\128-\191]*') do
    list[#list + 1] = c
  end
  return list
end

-- As much of what a producer sent as belongs into a sentence.
local function shown(text)
  if #text <= 40 then
    return text
  end
  return concat(characters(sub(text, 1, 160)), '', 1, min(40, #characters(sub(text, 1, 160))))
end

local function code_point(c)
  local first = byte(c, 1)
  if first < 128 then
    return first
  end
  local point = first < 224 and first - 192 or first < 240 and first - 224 or first - 240
  for i = 2, #c do
    point = point * 64 + byte(c, i) - 128
  end
  return point
end

local SPELLED = { ['"'] = '\\"', ['\\'] = '\\\\', ['\n'] = '\\n', ['\r'] = '\\r', ['\t'] = '\\t', ['\0'] = '\\0' }
local UNSEEN = { { 1, 31 }, { 127, 159 }, { 173, 173 }, { 8203, 8207 }, { 8232, 8238 }, { 8288, 8303 }, { 65279, 65279 }, { 917504, 1114111 } }

-- A text in quotes; what cannot be seen is spelled out.
local function quoted(text)
  local list = characters(text)
  for i, c in ipairs(list) do
    local point = code_point(c)
    for _, range in ipairs(UNSEEN) do
      if point >= range[1] and point <= range[2] then
        c = string.format('\\u{%x}', point)
      end
    end
    list[i] = SPELLED[list[i]] or c
  end
  return '"' .. concat(list) .. '"'
end

-- The Jaro-Winkler likeness of two words, 0 to 1.
local function likeness(one, other)
  local a, b = characters(one), characters(other)
  local range = max(floor(max(#a, #b) / 2) - 1, 0)
  local taken, ours, theirs = {}, {}, {}
  for i = 1, #a do
    for j = max(1, i - range), min(#b, i + range) do
      if a[i] == b[j] and not taken[j] then
        taken[j] = true
        ours[#ours + 1] = a[i]
        break
      end
    end
  end
  local matches = #ours
  if matches == 0 then
    return 0
  end
  for j = 1, #b do
    if taken[j] then
      theirs[#theirs + 1] = b[j]
    end
  end
  local crossed = 0
  for i = 1, matches do
    crossed = crossed + (ours[i] ~= theirs[i] and 1 or 0)
  end
  crossed = floor(crossed / 2)
  local alike = (matches / #a + matches / #b + (matches - crossed) / matches) / 3
  if alike > 0.7 then
    local prefix = 0
    while prefix < min(4, #a, #b) and a[prefix + 1] == b[prefix + 1] do
      prefix = prefix + 1
    end
    alike = alike + 0.1 * prefix * (1 - alike)
  end
  return alike
end

-- The known member that an unknown one is most like, as advice.
local function nearest(name)
  local best, most = nil, 0.75
  for _, known in ipairs(#name <= 64 and ORDER or {}) do
    local alike = likeness(known, name)
    if alike >= most and alike > 0.75 then
      best, most = known, alike
    end
  end
  return best and 'did you mean `' .. best .. '`?' or 'only the members of the envelope are accepted; put your own data into `payload` or `meta`'
end

-- The range of a whole number, as it is told to people.
local RANGES = { priority = 'must be 0 (first) to 9 (last)', timeout_ms = 'must be 1 to 86400000 (24 hours)', max_attempts = 'must be 1 to 1000',
  delay_ms = 'must be 0 to 316224000000 (ten years)', debounce_max_ms = 'must be 0 to 316224000000 (ten years)' }

-- ---------------------------------------------------------------- values

-- The 16 bytes of a UUID in one of the forms that are read, or nothing.
local function uuid_of(text)
  text = string.lower(text)
  text = match(text, '^urn:uuid:(%x+%-%x+%-%x+%-%x+%-%x+)$') or match(text, '^{(%x+%-%x+%-%x+%-%x+%-%x+)}$') or text
  local a, b, c, d, e = match(text, '^(%x+)%-(%x+)%-(%x+)%-(%x+)%-(%x+)$')
  if a and #a == 8 and #b == 4 and #c == 4 and #d == 4 and #e == 12 then
    return W.unhex(a .. b .. c .. d .. e)
  elseif #text == 32 and find(text, '^%x+$') then
    return W.unhex(text)
  end
end

local DAYS = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }
-- The first and the last second that RFC 3339 can write.
local FIRST, LAST = -62167219200, 253402300799

-- Microseconds since 1970 of an RFC 3339 instant with an offset, or nothing. Days from the date by Howard Hinnant's `days_from_civil`.
local function instant(text)
  local y, m, d, h, n, s, rest = match(text, '^(%d%d%d%d)%-(%d%d)%-(%d%d)[Tt ](%d%d):(%d%d):(%d%d)(.*)$')
  if not y then
    return nil
  end
  local fraction, zone = match(rest, '^%.(%d+)(.*)$')
  zone = zone or rest
  local sign, zone_h, zone_m = match(zone, '^([+-])(%d%d):(%d%d)$')
  if not sign and zone ~= 'Z' and zone ~= 'z' then
    return nil
  end
  local year, month, day = tonumber(y), tonumber(m), tonumber(d)
  local is_leap = year % 4 == 0 and year % 100 ~= 0 or year % 400 == 0
  local last = DAYS[month]
  if not last or day < 1 or day > last + (month == 2 and is_leap and 1 or 0) or h > '23' or n > '59' or s > '60' or (sign and (zone_h > '23' or zone_m > '59')) then
    return nil
  end
  local shifted = month <= 2 and year - 1 or year
  local era = floor(shifted / 400)
  local of_era = shifted - era * 400
  local of_year = floor((153 * ((month + 9) % 12) + 2) / 5) + day - 1
  local days = era * 146097 + of_era * 365 + floor(of_era / 4) - floor(of_era / 100) + of_year - 719468
  local seconds = ((days * 24 + tonumber(h)) * 60 + tonumber(n)) * 60 + tonumber(s)
  if sign then
    local offset = (tonumber(zone_h) * 60 + tonumber(zone_m)) * 60
    seconds = sign == '+' and seconds - offset or seconds + offset
  end
  local micros = tonumber(sub((fraction or '') .. '000000', 1, 6))
  -- Compared in seconds, since microseconds of far years are no exact numbers here.
  if seconds < FIRST or seconds > LAST then
    return nil
  end
  return seconds * 1000000 + micros
end

-- The seconds of an ISO 8601 duration of days, hours, minutes and seconds, more than none and at most 366 days; or nothing.
local function window_seconds(text)
  local date, time = match(text, '^P(.-)T(.+)$')
  date, time = date or match(text, '^P(.*)$'), time or ''
  local seconds = 0
  local function counted(part, units)
    for _, unit in ipairs(units) do
      local digits, rest = match(part, '^(%d+)' .. unit[1] .. '(.*)$')
      if digits and #digits <= 9 then
        seconds, part = seconds + tonumber(digits) * unit[2], rest
      end
    end
    return part == ''
  end
  if date and counted(date, { { 'D', 86400 } }) and counted(time, { { 'H', 3600 }, { 'M', 60 }, { 'S', 1 } }) and seconds >= 1 and seconds <= 366 * 86400 then
    return seconds
  end
end

-- ---------------------------------------------------------------- what no reader could take

local function name_of(text, at)
  if not W.is_name(text) then
    fault(at, 'bad_name', 'must be 1 to 128 of A-Z a-z 0-9 _ . : - and begin with a letter or digit, got ' .. quoted(shown(text)))
  end
  return text
end

local function id_of(text, at)
  return uuid_of(text) or fault(at, 'wrong_type', '`' .. shown(text) .. '` is not a UUID; mint a UUIDv7')
end

local function instant_of(text, at)
  return instant(text) or fault(at, 'wrong_type', '`' .. shown(text) .. '` is not an RFC 3339 time with an offset, such as 2026-12-01T09:00:00Z')
end

local HELD = { until_finished = { held = 'f', window = 0 }, until_started = { held = 's', window = 0 } }

local function held_of(text, at)
  local seconds = not HELD[text] and window_seconds(text)
  return HELD[text] or seconds and { held = 'w', window = seconds * 1000000 }
    or fault(at, 'wrong_type', '`' .. shown(text) .. '` is none of until_finished, until_started or a duration such as PT10M or P1D (at most P366D)')
end

local MANNERS = { ['return'] = true, replace = true, reject = true, debounce = true }

local function manner_of(text, at)
  return MANNERS[text] and text or fault(at, 'wrong_type', '`' .. shown(text) .. '` is none of return, replace, reject, debounce')
end

local function text_as(read)
  return function(raw, at)
    local text = W.text_of(raw, at) or fault(at, 'wrong_type', 'must be a string')
    return read(text, at)
  end
end

local function list_as(read)
  read = text_as(read)
  return function(raw, at)
    local items = W.items(raw) or fault(at, 'wrong_type', 'must be a list of strings')
    for i, item in ipairs(items) do
      items[i] = read(item, at .. '/' .. i - 1)
    end
    return items
  end
end

-- Whether the digits are at most those of `most`.
local function fit(digits, most)
  return #digits < #most or #digits == #most and digits <= most
end

-- Those that a reader can hold are looked at with the other rules.
local function whole_to(most)
  return function(raw, at, member)
    local sign, digits = match(raw, '^(-?)(%d+)$')
    if not digits or raw == '-0' or not fit(digits, sign == '-' and '9223372036854775808' or '18446744073709551615') then
      fault(at, 'wrong_type', RANGES[member] .. ', a whole number')
    elseif sign == '-' or not fit(digits, most) then
      fault(at, 'out_of_range', RANGES[member])
    end
    return tonumber(digits)
  end
end

local function boolean(raw, at)
  if raw ~= 'true' and raw ~= 'false' then
    fault(at, 'wrong_type', 'must be true or false')
  end
  return raw == 'true'
end

-- Each member once, by their names, each value as it was written.
local function object(raw, at)
  local members = W.members(raw, at, 1) or fault(at, 'wrong_type', 'must be an object')
  local names, values = {}, {}
  for i = 1, #members, 4 do
    local name = members[i]
    if not values[name] then
      names[#names + 1] = name
    end
    values[name] = members[i + 1]
  end
  table.sort(names)
  for i, name in ipairs(names) do
    names[i] = cjson.encode(name) .. ':' .. values[name]
  end
  return '{' .. concat(names, ',') .. '}'
end

local function as_it_is(raw)
  return raw
end

local read_shape

local WHOLE = '18446744073709551615'
local SHAPES = { kind = text_as(name_of), payload = as_it_is, id = text_as(id_of), queue = text_as(name_of), tenant = text_as(name_of), priority = whole_to('255'),
  run_at = text_as(instant_of), delay_ms = whole_to(WHOLE), expires_at = text_as(instant_of), timeout_ms = whole_to(WHOLE), max_attempts = whole_to('4294967295'),
  unique_key = text_as(name_of), unique_for = text_as(held_of), on_duplicate = text_as(manner_of), debounce_max_ms = whole_to(WHOLE),
  idempotency_key = text_as(as_it_is), concurrency_key = text_as(name_of), ordered = boolean, tags = list_as(name_of), event_time = text_as(instant_of),
  after = list_as(id_of), on_success = function(raw, at) return read_shape(raw, at) end, on_failure = function(raw, at) return read_shape(raw, at) end,
  account = as_it_is, meta = object }

local NO_OBJECT = 'an envelope is a JSON object with at least `kind` and `payload`'

local function shape_of(members, at)
  local e, seen = {}, {}
  for i = 1, #members, 4 do
    local name, value = members[i], members[i + 1]
    local shape = SHAPES[name]
    local place = at .. '/' .. (shape and name or string.gsub(string.gsub(shown(name), '~', '~0'), '/', '~1'))
    if seen[name] then
      fault(place, 'conflict', '`' .. shown(name) .. '` is there twice; send it once')
    elseif not shape then
      fault(place, 'unknown_member', 'unknown member `' .. shown(name) .. '`; ' .. nearest(name))
    end
    seen[name] = value
    if name == 'payload' then
      e.payload, e.payload_from, e.payload_stop = value, members[i + 2], members[i + 3]
    elseif value ~= 'null' or name == 'kind' then
      e[name] = shape(value, place, name)
    end
  end
  for _, name in ipairs({ 'kind', 'payload' }) do
    if not seen[name] then
      fault(at .. '/' .. name, 'wrong_type', '`' .. name .. '` is required')
    end
  end
  e.raw = seen
  return e
end

-- What a follow-up says, member by member; `raw` of each beside it.
function read_shape(raw, at)
  return shape_of(W.members(raw, at, 1) or fault(at, 'wrong_type', NO_OBJECT), at)
end

-- The same of all of `text`.
local function read_text(text)
  local from = W.begin_value(text)
  local members, stop = W.members(text, '', from)
  if not members then
    W.end_value(text, W.value_end(text, from, 0))
    fault('', 'wrong_type', NO_OBJECT)
  end
  W.end_value(text, stop)
  return shape_of(members, '')
end

-- ---------------------------------------------------------------- what breaks a rule though every member reads well

local function sizes(e, at, most)
  if #e.payload > most then
    fault(at .. '/payload', 'too_large', string.format('is %d bytes, the limit is %d; store the data elsewhere and send a reference', #e.payload, most))
  elseif e.account then
    fault(at .. '/account', 'not_supported', '`account` is not supported yet; leave it out until budgets are released')
  elseif e.tags and #e.tags > TAGS then
    fault(at .. '/tags', 'out_of_range', 'at most 20 tags')
  elseif e.after and #e.after > AFTER then
    fault(at .. '/after', 'out_of_range', 'at most 100 dependencies')
  elseif e.meta and #e.meta > META_BYTES then
    fault(at .. '/meta', 'too_large', 'at most 4096 bytes')
  end
end

local function ranges(e, at)
  if e.id and floor(byte(e.id, 7) / 16) ~= 7 then
    fault(at .. '/id', 'out_of_range', '`' .. W.uuid(e.id) .. '` is not a UUIDv7; mint a version 7 id or leave it out')
  end
  local function within(name, least, most)
    if e[name] and (e[name] < least or e[name] > most) then
      fault(at .. '/' .. name, 'out_of_range', RANGES[name])
    end
  end
  within('priority', 0, PRIORITY)
  within('delay_ms', 0, DELAY_MS)
  within('debounce_max_ms', 0, DELAY_MS)
  within('timeout_ms', 1, TIMEOUT_MS)
  within('max_attempts', 1, MAX_ATTEMPTS)
end

local function times(e, at)
  if (e.delay_ms or 0) > 0 and e.run_at then
    fault(at .. '/delay_ms', 'conflict', '`run_at` and `delay_ms` are both set; send one of them')
  elseif e.expires_at and e.run_at and e.expires_at <= e.run_at then
    fault(at .. '/expires_at', 'conflict', 'is not after `run_at`, so the job could never start; send a later one')
  end
end

local function keys(e, at)
  local key = e.idempotency_key
  if key and (#key > 255 or not find(key, '^[ -~]+$')) then
    fault(at .. '/idempotency_key', 'bad_name', 'must be 1 to 255 printable ASCII characters')
  elseif e.ordered and not e.concurrency_key then
    fault(at .. '/ordered', 'conflict', 'needs a `concurrency_key`, which names the sequence')
  end
  for _, parent in ipairs(e.id and e.after or {}) do
    if parent == e.id then
      fault(at .. '/after', 'conflict', 'a job cannot wait for itself; leave its own id out')
    end
  end
end

local function unique(e, at)
  local manner, delay = e.on_duplicate or 'return', e.delay_ms or 0
  if not e.unique_key then
    for _, name in ipairs({ 'unique_for', 'on_duplicate', 'debounce_max_ms' }) do
      if e[name] then
        fault(at .. '/' .. name, 'conflict', 'needs a `unique_key`')
      end
    end
    return nil
  end
  local held = e.unique_for or HELD.until_finished
  if (manner == 'replace' or manner == 'debounce') and held.held ~= 's' then
    fault(at .. '/on_duplicate', 'conflict', '`replace` and `debounce` need `unique_for: until_started`, because a started job cannot be swapped')
  elseif e.debounce_max_ms and manner ~= 'debounce' then
    fault(at .. '/debounce_max_ms', 'conflict', 'belongs to `on_duplicate: debounce`')
  elseif manner == 'debounce' and delay == 0 then
    fault(at .. '/on_duplicate', 'conflict', '`debounce` needs `delay_ms`, the quiet time to wait for')
  end
  -- Without a stated bound a steady stream of arrivals could put a job off for ever: ten quiet times, then it runs.
  return { key = e.unique_key, held = held.held, window = held.window, on_duplicate = manner, debounce_max_ms = min(e.debounce_max_ms or delay * 10, DELAY_MS) }
end

-- ---------------------------------------------------------------- the job

-- All that was said but the id, so that the same body is known when it comes again.
local function print_of(e, queue)
  local said = { queue or '' }
  for _, name in ipairs(ORDER) do
    local value = name ~= 'id' and name ~= 'queue' and e.raw[name]
    if value and value ~= 'null' then
      said[#said + 1] = name .. ' ' .. value
    end
  end
  return sub(redis.sha1hex(concat(said, '\n')), 1, 32)
end

local function hexed(ids)
  local list = {}
  for i, id in ipairs(ids) do
    list[i] = W.hex(id)
  end
  return list
end

local function some(list)
  return list and #list > 0 and list or nil
end

local job_of

local function follow_up(s, e, member, at, most, depth)
  local next_ = e[member]
  if not next_ then
    return nil
  end
  at = at .. '/' .. member
  if depth > DEPTH then
    fault(at, 'too_large', 'at most 8 follow-ups inside one another')
  elseif next_.tenant and next_.tenant ~= e.tenant then
    fault(at .. '/tenant', 'conflict', 'a follow-up stays in its job\'s tenant; leave it out')
  end
  next_.tenant = e.tenant
  local n = job_of(s, next_, at, next_.queue, most, depth)
  n.id, n.payload, n.queue = W.hex(next_.id or W.mint(s)), next_.payload, next_.queue
  return W.hex(cmsgpack.pack(n))
end

-- What `take_in` reads, of a good envelope.
function job_of(s, e, at, queue, most, depth)
  sizes(e, at, most)
  ranges(e, at)
  times(e, at)
  keys(e, at)
  local held = unique(e, at)
  if held and e.concurrency_key and W.partitions_of(s, queue or '') and sub(held.key, 1, #e.concurrency_key) ~= e.concurrency_key then
    fault(at .. '/unique_key', 'conflict', 'must begin with the `concurrency_key`, which chooses the partition of this queue')
  end
  local on_success = follow_up(s, e, 'on_success', at, most, depth + 1)
  local on_failure = follow_up(s, e, 'on_failure', at, most, depth + 1)
  return {
    kind = e.kind, is_producers = e.id and true or nil, tenant = e.tenant, priority = e.priority, run_at = e.run_at,
    delay_ms = (e.delay_ms or 0) > 0 and e.delay_ms or nil, expires_at = e.expires_at, timeout_ms = e.timeout_ms, max_attempts = e.max_attempts, unique = held,
    idempotency_key = e.idempotency_key, idempotency_ms = e.idempotency_key and IDEMPOTENCY_MS or nil, key = e.concurrency_key, ordered = e.ordered or nil,
    fingerprint = (e.id or e.idempotency_key) and print_of(e, queue) or nil, tags = some(e.tags), event_time = e.event_time, meta = e.meta,
    on_success = on_success, on_failure = on_failure, after = e.after and some(hexed(e.after)),
  }
end

-- Reads and checks the envelope `text`, of at most `most_text` bytes: what it says, and the job that it makes in the queue of `s`, which
-- it need not name. `most`: bytes of a payload.
function W.read_envelope(s, text, most, most_text)
  if #text > most_text then
    fault('', 'too_large', string.format('is %d bytes, and an envelope takes %d here; send it by HTTP, or a reference to the data', #text, most_text))
  end
  local e = read_text(text)
  local queue = s:place().queue
  local n = job_of(s, e, '', queue, most, 0)
  if e.queue and e.queue ~= queue then
    fault('/queue', 'conflict', 'the key names queue `' .. queue .. '`; leave `queue` out, or call with the key of `' .. e.queue .. '`')
  end
  return e, n
end
