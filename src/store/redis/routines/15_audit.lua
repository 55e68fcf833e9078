-- The audit: a chain of rows for each shard and for what belongs to no queue.
--
--   <base>:audit         hash   op_id -> the row, as JSON
--   <base>:audit_order   zset   place in the chain and op_id, by the instant
--   <base>:audit_head    hash   of the last link: seq, hash, at

local band, bnot, bxor, ror, rshift, tobit, tohex = bit.band, bit.bnot, bit.bxor, bit.ror, bit.rshift, bit.tobit, bit.tohex

-- The first 32 bits behind the point of the roots of the first primes (FIPS 180-4).
local SQUARE, CUBE = {}, {}
do
  local n = 2
  while #CUBE < 64 do
    local is_prime = true
    for d = 2, n - 1 do
      is_prime = is_prime and n % d ~= 0
    end
    if is_prime then
      SQUARE[#SQUARE + 1] = floor(n ^ (1 / 2) % 1 * 2 ^ 32)
      CUBE[#CUBE + 1] = floor(n ^ (1 / 3) % 1 * 2 ^ 32)
    end
    n = n + 1
  end
end
local WORDS = '>' .. string.rep('I4', 16)

-- Redis brings no more than SHA-1.
local function sha256(text)
  local bits = #text * 8
  text = concat({ text, '\128', string.rep('\0', (55 - #text) % 64), pack('>I4', floor(bits / 2 ^ 32)), pack('>I4', bits % 2 ^ 32) })
  local sum = { unpack(SQUARE, 1, 8) }
  for at = 1, #text, 64 do
    local w = { unpack_(WORDS, text, at) }
    for i = 17, 64 do
      local x, y = w[i - 15], w[i - 2]
      w[i] = tobit(w[i - 16] + bxor(ror(x, 7), ror(x, 18), rshift(x, 3)) + w[i - 7] + bxor(ror(y, 17), ror(y, 19), rshift(y, 10)))
    end
    local a, b, c, d, e, f, g, h = unpack(sum)
    for i = 1, 64 do
      local one = h + bxor(ror(e, 6), ror(e, 11), ror(e, 25)) + bxor(band(e, f), band(bnot(e), g)) + CUBE[i] + w[i]
      local two = bxor(ror(a, 2), ror(a, 13), ror(a, 22)) + bxor(band(a, b), band(a, c), band(b, c))
      h, g, f, e, d, c, b, a = g, f, e, tobit(d + one), c, b, a, tobit(one + two)
    end
    for i, part in ipairs({ a, b, c, d, e, f, g, h }) do
      sum[i] = tobit(sum[i] + part)
    end
  end
  for i = 1, 8 do
    sum[i] = tohex(sum[i])
  end
  return concat(sum)
end

-- As `Audited::canonical` has it: each word with its length, and a dash for one that is not there.
local function canonical(words, n)
  local parts = {}
  for i = 1, n do
    local word = words[i]
    parts[i] = word and concat({ #word, ':', word, ',' }) or '-'
  end
  return concat(parts)
end

-- Microseconds of an instant as `W.rfc3339` writes it.
local function micros(text)
  local y, m, d, hour, minute, second, part = match(text, '^(%d+)-(%d+)-(%d+)T(%d+):(%d+):(%d+)%.?(%d*)Z$')
  if not y then
    return 0
  end
  local year = m + 0 <= 2 and y - 1 or y + 0
  local era = floor(year / 400)
  local of_year = floor((153 * ((m + 9) % 12) + 2) / 5) + d - 1
  local of_era = (year - era * 400) * 365 + floor((year - era * 400) / 4) - floor((year - era * 400) / 100) + of_year
  local days = era * 146097 + of_era - 719468
  return (((days * 24 + hour) * 60 + minute) * 60 + second) * 1000000 + tonumber(sub(part .. '000000', 1, 6))
end

-- Rows from before there were chains get their places, by time; the chain begins behind them.
local function adopt(base)
  local rows, head = base .. ':audit', base .. ':audit_head'
  if call('EXISTS', head) == 1 or call('EXISTS', rows) == 0 then
    return
  end
  local all, old = call('HGETALL', rows), {}
  for i = 1, #all, 2 do
    old[#old + 1] = { id = all[i], at = micros(cjson.decode(all[i + 1]).at or '') }
  end
  table.sort(old, function(one, other)
    if one.at ~= other.at then
      return one.at < other.at
    end
    return one.id < other.id
  end)
  for n, row in ipairs(old) do
    call('ZADD', base .. ':audit_order', row.at, pack8(n) .. row.id)
  end
  call('HSET', head, 'seq', #old, 'hash', '', 'at', #old > 0 and string.format('%.0f', old[#old].at) or '0')
end

-- Records the act `op` in the chain of `base`. False: it was done before.
function W.audit(base, op)
  local rows, head = base .. ':audit', base .. ':audit_head'
  if call('HEXISTS', rows, op.id) == 1 then
    return false
  end
  adopt(base)
  local last = call('HMGET', head, 'seq', 'hash', 'at')
  local seq = string.format('%.0f', (last[1] or 0) + 1)
  -- A clock that was set back does not change the order.
  local at = max(op.at, tonumber(last[3] or 0))
  local instant = string.format('%.0f', at)
  local hash = sha256(canonical({ last[2] or '', seq, W.uuid(op.id), instant, op.actor, op.action, op.object, op.detail }, 8))
  local row = { hash = hash, at = W.rfc3339(at), actor = op.actor, action = op.action, object = op.object, detail = op.detail }
  call('HSET', rows, op.id, cjson.encode(row))
  call('ZADD', base .. ':audit_order', instant, pack8(seq + 0) .. op.id)
  call('HSET', head, 'seq', seq, 'hash', hash, 'at', instant)
  return true
end

-- Rows of a chain, newest first, from the instant `top` on (`(` before it: without that one); of the chain that a page ended in, those
-- before `seq`. Each with its op_id and its place.
function W.audited(base, limit, top, seq)
  local found, offset = {}, 0
  repeat
    local members = call('ZRANGE', base .. ':audit_order', top, '-inf', 'BYSCORE', 'REV', 'LIMIT', offset, limit)
    for _, member in ipairs(members) do
      local n, id = unpack8(member, 1), sub(member, 9)
      local row = #found < limit and n < seq and call('HGET', base .. ':audit', id)
      if row then
        found[#found + 1] = { string.format('%.0f', n), id, row }
      end
    end
    offset = offset + #members
  until #members < limit or #found == limit
  return found
end

-- The last link of a chain, as it was written; nothing where no act was.
function W.audit_head(base)
  return call('HMGET', base .. ':audit_head', 'seq', 'hash')
end

-- At most `limit` rows that are older than `before`. The newest stays: it proves that none behind it is gone.
function W.prune_audit(base, before, limit)
  if before == '' then
    return false
  end
  adopt(base)
  local members = call('ZRANGE', base .. ':audit_order', '-inf', '(' .. before, 'BYSCORE', 'LIMIT', 0, limit)
  local last = tonumber(call('HGET', base .. ':audit_head', 'seq') or 0)
  for _, member in ipairs(members) do
    if unpack8(member, 1) == last then
      return false
    end
    call('ZREM', base .. ':audit_order', member)
    call('HDEL', base .. ':audit', sub(member, 9))
  end
  return #members == limit
end
