-- Gates: what a concurrency key holds back. A job of a key may enter its line when fewer are running, or standing in lines and at
-- least as urgent, than the key has slots; the others wait behind the gate, best first. Where tenants have caps those in line do
-- not count: a line that its tenant's cap has shut would hold up the key's other jobs while slots are free.

local function score(priority, pos)
  return priority * RANK + pos
end

-- A key is its tenant's own: nobody holds up another tenant's jobs, and no tenant's name has the stroke.
function W.gate_key(h)
  return h.tenant and h.tenant .. '/' .. h.key or h.key
end

function W.gate(s, key)
  local g = s.gates[key]
  if not g then
    local rules = s:rules()
    local base = s.base .. ':key'
    g = { key = key, name = base .. ':' .. key, line = base .. '-line:' .. key, wait = base .. '-wait:' .. key, behind = base .. '-behind:' .. key,
      run = base .. '-run:' .. key, limit = rules.key_concurrency, rate = rules.key_rate, lines_count = not rules.tenant_concurrency }
    local known = call('HMGET', g.name, 'head', 'tat', 'opens', 'holds')
    g.head, g.tat, g.opens, g.holds = known[1] or nil, tonumber(known[2] or 0), tonumber(known[3] or nil), known[4] or nil
    s.gates[key] = g
  end
  return g
end

local function set(g, field, value)
  g[field] = value
  if value then
    call('HSET', g.name, field, value)
  else
    call('HDEL', g.name, field)
  end
end

local function set_opens(s, g, at)
  if g.opens ~= at then
    set(g, 'opens', at)
    if at then
      call('ZADD', s.opening, at, g.key)
    else
      call('ZREM', s.opening, g.key)
    end
  end
end

-- Whether it holds anybody back: such a gate is found again when the rules change.
local function set_holds(s, g, holds)
  if holds and not g.holds then
    set(g, 'holds', 1)
    call('ZADD', s.gated, 0, g.key)
  elseif g.holds and not holds then
    set(g, 'holds', nil)
    call('ZREM', s.gated, g.key)
  end
end

-- Running, or in line and at least as urgent.
local function ahead_of(g, priority)
  local running = call('SCARD', g.run)
  if not g.lines_count then
    return running
  end
  return running + call('ZCOUNT', g.line, '-inf', '(' .. string.format('%.0f', score(priority + 1, 0)))
end

local function hold_back(s, g, j, is_behind)
  set_holds(s, g, true)
  if is_behind then
    -- Ordered jobs ignore priority among themselves: they stand by position alone.
    call('ZADD', g.behind, j.pos, j.id)
  else
    call('ZADD', g.wait, score(j.h.priority, j.pos), j.id)
  end
  j.state = is_behind and 'b' or 'g'
  W.write_job(s, j)
end

-- Whether the job may go into its line now; if not, it is behind its gate. One that comes back stood before those that are in
-- line now, so they do not count as ahead of it.
function W.admit(s, j, returning)
  local g = W.gate(s, W.gate_key(j.h))
  local is_behind = false
  if j.h.ordered then
    if g.head then
      is_behind = g.head ~= j.id
    else
      -- Nobody's turn, and yet somebody waits: the rate is closed. Who came first goes first once it opens.
      is_behind = call('EXISTS', g.behind) == 1
    end
    if not g.head and not is_behind then
      set(g, 'head', j.id)
    end
  end
  g.returned = g.returned or returning
  -- While the rules are new, those who wait may be let in by them, and stand before this one.
  local is_anew = not returning and g.holds and call('EXISTS', s.anew) == 1
  if is_anew then
    s.refills[g.key] = true
  end
  if not is_behind and not is_anew and not g.opens and (returning or ahead_of(g, j.h.priority) < g.limit) then
    call('ZADD', g.line, score(j.h.priority, j.pos), j.id)
    return true
  end
  hold_back(s, g, j, is_behind)
  return false
end

-- Its rate may be another than the one that it last started by.
local function keep_to_rate(s, g)
  if g.rate and W.rate_keeps(g.rate, g.tat, s.now) ~= g.tat then
    set(g, 'tat', W.rate_keeps(g.rate, g.tat, s.now))
  end
end

local function conforms(s, g)
  return not g.rate or W.rate_admits(g.rate, g.tat, s.now) > 0
end

-- Whether a suspect of this key could start now.
function W.gate_has_slot(s, key)
  local g = W.gate(s, key)
  keep_to_rate(s, g)
  return call('SCARD', g.run) < g.limit and conforms(s, g)
end

-- A keyed job was taken out of its place: may it start? If not, it is behind its gate now.
function W.gate_starts(s, j)
  local g = W.gate(s, W.gate_key(j.h))
  call('ZREM', g.line, j.id)
  keep_to_rate(s, g)
  local is_free, does_conform = call('SCARD', g.run) < g.limit, conforms(s, g)
  if is_free and does_conform then
    call('SADD', g.run, j.id)
    if g.rate then
      set(g, 'tat', W.rate_spend(g.rate, g.tat, s.now, 1))
      -- One that stood in line is gone: the next may come, or time will tell when.
      s.refills[g.key] = true
    end
    return true
  end
  if not does_conform then
    set_opens(s, g, W.rate_opens(g.rate, g.tat))
  end
  hold_back(s, g, j, false)
  return false
end

-- A start that was counted did not happen, or the run ended. `turn_over`: it no longer holds up the ordered jobs behind it.
function W.gate_ends(s, key, id, turn_over)
  local g = W.gate(s, key)
  call('SREM', g.run, id)
  if turn_over and g.head == id then
    set(g, 'head', nil)
  end
  s.refills[key] = true
end

-- A job leaves its place in line or behind the gate, and with it its turn.
function W.leave_gate(s, j)
  local g = W.gate(s, W.gate_key(j.h))
  call('ZREM', g.line, j.id)
  call('ZREM', g.wait, j.id)
  call('ZREM', g.behind, j.id)
  W.gate_ends(s, g.key, j.id, true)
end

-- The most urgent job behind a gate; the first of the ordered ones only when nobody's turn stands.
local function best_behind(s, g)
  local best
  local first = call('ZRANGE', g.wait, 0, 0)[1]
  if first then
    best = W.read_job(s, first)
    if not best then
      call('ZREM', g.wait, first)
      return best_behind(s, g)
    end
  end
  if not g.head then
    first = call('ZRANGE', g.behind, 0, 0)[1]
    if first then
      local j = W.read_job(s, first)
      if not j then
        call('ZREM', g.behind, first)
        return best_behind(s, g)
      end
      j.is_behind = true
      if not best or score(j.h.priority, j.pos) < score(best.h.priority, best.pos) then
        best = j
      end
    end
  end
  return best
end

-- Lets the best waiting jobs into their lines, as many as the gate admits, at most `most`; returns how many.
function W.refill(s, key, most)
  local g = W.gate(s, key)
  local admitted = 0
  while admitted ~= most do
    if call('EXISTS', g.wait, g.behind) == 0 then
      set_opens(s, g, nil)
      set_holds(s, g, false)
      break
    end
    set_holds(s, g, true)
    if not g.rate then
      set_opens(s, g, nil)
    else
      keep_to_rate(s, g)
      local standing = call('ZCARD', g.line)
      local is_closed = W.rate_admits(g.rate, g.tat, s.now) <= standing
      -- Where not time but those who stand in line close the gate, it opens when one of them leaves.
      local opens = W.rate_opens(g.rate, g.tat + g.rate.interval * standing)
      set_opens(s, g, is_closed and opens > s.now and opens or nil)
      if is_closed then
        break
      end
    end
    if not g.returned and call('SCARD', g.run) >= g.limit then
      break
    end
    local j = best_behind(s, g)
    if not j then
      break
    end
    local just_now = g.lines_count and 0 or admitted
    if ahead_of(g, j.h.priority) + just_now >= g.limit then
      local before = g.returned and g.lines_count
        and call('SCARD', g.run) + call('ZCOUNT', g.line, '-inf', '(' .. string.format('%.0f', score(j.h.priority, j.pos)))
      if not before or before >= g.limit then
        break
      end
    end
    call('ZREM', j.is_behind and g.behind or g.wait, j.id)
    if j.is_behind then
      set(g, 'head', j.id)
    end
    call('ZADD', g.line, score(j.h.priority, j.pos), j.id)
    W.put_among_heads(s, j)
    admitted = admitted + 1
  end
  -- What remains of a gate that holds nobody and whose rate is forgiven says nothing.
  if not g.head and not g.opens and g.tat > 0 and g.tat <= s.now then
    set(g, 'tat', nil)
    g.tat = 0
  end
  return admitted
end

-- What of the rules decides how a gate stands.
local function rules_of_gates(s)
  local rules = s:rules()
  local rate = rules.key_rate or { interval = 0, burst = 0 }
  return string.format('%.0f %.0f %.0f %s', rules.key_concurrency, rate.interval, rate.burst, rules.tenant_concurrency and 'lanes' or '')
end

-- New rules: every gate that holds somebody back is looked at again, a bounded piece in each call that follows. One round that is under way
-- ends first, so that changes that follow each other leave no gate out.
function W.look_at_gates(s)
  local rules = rules_of_gates(s)
  if call('HGET', s.base, 'gate_rules') ~= rules then
    call('HSET', s.base, 'gate_rules', rules)
    call('HINCRBY', s.anew, 'rounds', 1)
  end
end

-- One piece. Answers how many were let in, and whether there is more.
function W.look_at_more_gates(s)
  local rounds, from = unpack(call('HMGET', s.anew, 'rounds', 'from'))
  if not rounds then
    return 0, false
  end
  local keys = call('ZRANGE', s.gated, from and '(' .. from or '-', '+', 'BYLEX', 'LIMIT', 0, GATES)
  local admitted, is_more = 0, #keys == GATES
  for _, key in ipairs(keys) do
    admitted = admitted + W.refill(s, key, BATCH - admitted)
    if admitted == BATCH then
      -- It may have room for more: the next piece begins with it.
      is_more = true
      break
    end
    from = key
  end
  if is_more then
    if from then
      call('HSET', s.anew, 'from', from)
    end
  elseif rounds == '1' then
    call('DEL', s.anew)
  else
    call('HSET', s.anew, 'rounds', 1)
    call('HDEL', s.anew, 'from')
    is_more = true
  end
  return admitted, is_more
end
