-- What time brings: jobs become due, gates open, parks and patience end, holders die, the past is forgotten. Every call does a
-- bounded piece and says whether there is more.

local function first_due(set, now)
  return call('ZRANGE', set, '-inf', now, 'BYSCORE', 'LIMIT', 0, BATCH)
end

function W.advance(s)
  local done = { due = 0, admitted = 0, expired = 0, parks = 0, more = false }
  local now = s.now
  if call('EXISTS', s.due, s.opening, s.expiries, s.asking, s.telling, s.parks, s.anew) == 0 then
    return done
  end
  local due = first_due(s.due, now)
  for _, id in ipairs(due) do
    call('ZREM', s.due, id)
    local j = W.read_job(s, id)
    if j then
      W.let_go(s, j, 'scheduled')
    end
  end
  done.due = #due
  local gates = first_due(s.opening, now)
  for _, key in ipairs(gates) do
    done.admitted = done.admitted + W.refill(s, key)
  end
  local admitted, others = W.look_at_more_gates(s)
  done.admitted = done.admitted + admitted
  local expired = first_due(s.expiries, now)
  for _, id in ipairs(expired) do
    call('ZREM', s.expiries, id)
    local state, j = W.state_of(s, id)
    if j and state ~= 'running' then
      W.displace(s, j)
      W.expire(s, j)
      done.expired = done.expired + 1
    end
  end
  local asking = first_due(s.asking, now)
  W.ask_again(s, asking)
  local telling = W.tell_more(s)
  local parks = first_due(s.parks, now)
  for _, id in ipairs(parks) do
    call('ZREM', s.parks, id)
    local j = W.read_job(s, id)
    if j then
      W.displace(s, j)
      W.end_waiting(s, j, 'd', 'park_expired')
      done.parks = done.parks + 1
    end
  end
  done.more = #due == BATCH or #gates == BATCH or #expired == BATCH or #parks == BATCH or #asking == BATCH or telling or others
  return done
end

-- Takes back what one claim still holds, at most `most` jobs.
local function take_back(s, claim, process_died, max_deaths, most, reaped)
  local holder, gone, items = claim:holder(), {}, {}
  claim:each(function(place, id)
    gone[#gone + 1] = place
    items[#items + 1] = { id = id, flags = claim:flags(place), lane = claim:lane(place), holder = holder }
    return #gone < most
  end)
  claim:drop(gone)
  for _, item in ipairs(items) do
    local flags = item.flags
    local j = W.read_job(s, item.id)
    item.job = j
    call('HDEL', s.progress, item.id)
    if not j then
      s:count('running', -1)
      if has(flags, SUSPECT) then
        call('HDEL', s:alone_in(), holder)
      end
    else
      local h = j.h
      W.add_record(j, claim:granted_at(), s.now, holder, 'lost')
      if process_died and has(flags, SUSPECT) then
        h.deaths = (h.deaths or 0) + 1
      end
      local asked = call('HGET', s.cancels, item.id)
      local state = asked and 'x' or (h.deaths or 0) >= max_deaths and 'd' or nil
      W.leave_run(s, item, state ~= nil, state == nil)
      if state then
        -- The request outlives the holder it was made to.
        call('HDEL', s.cancels, item.id)
        j.state = 'p'
        W.write_job(s, j)
        W.bury(s, j.id, state, W.ended(state, s.now, nil, nil, nil, asked or 'poison'))
        s:move('running', STATES[state])
        W.after_end(s, j, state)
        reaped.poisoned = reaped.poisoned + (asked and 0 or 1)
      else
        s:move('running', 'queued')
        if process_died then
          j.state = 'u'
          W.write_job(s, j)
          call('ZADD', s.suspects, j.pos, j.id)
          reaped.suspects = reaped.suspects + 1
          s.work = true
        else
          W.put_back(s, j)
        end
        if h.key then
          local g = W.gate(s, W.gate_key(h))
          call('SREM', g.run, j.id)
          s.refills[g.key] = true
        end
        reaped.requeued = reaped.requeued + 1
      end
    end
  end
  return #items
end

-- Takes back the leases of holders whose time ran out, and those of the dead ones. Nobody says of the former that their process
-- died: they may be paused or cut off, so nothing speaks against their jobs.
function W.reap(s, dead, max_deaths)
  local reaped = { requeued = 0, suspects = 0, poisoned = 0, more = false }
  local holders, in_use, left = {}, {}, BATCH
  for _, claim in ipairs(W.claims(s)) do
    local holder = claim:holder()
    if holders[holder] == nil then
      local row = call('HGET', s.holders, holder)
      holders[holder] = row and unpack8(row, 1) or 0
    end
    local is_dead = dead[holder]
    if is_dead or (claim:till() < s.now and holders[holder] < s.now) then
      if left > 0 then
        left = left - take_back(s, claim, is_dead, max_deaths, left, reaped)
      end
      if call('HEXISTS', s.claims, claim.epoch) == 1 then
        in_use[holder], reaped.more = true, true
      end
    else
      in_use[holder] = true
    end
  end
  local rows = call('HGETALL', s.holders)
  for i = 1, #rows, 2 do
    if not in_use[rows[i]] and (unpack8(rows[i + 1], 1) < s.now or dead[rows[i]]) then
      call('HDEL', s.holders, rows[i])
    end
  end
  return reaped
end

-- The holders that once were where `node` is: dead, since somebody else is there now.
function W.holders_at(s, node)
  local found = {}
  local rows = call('HGETALL', s.holders)
  for i = 1, #rows, 2 do
    if node ~= '' and sub(rows[i + 1], 9) == node then
      found[rows[i]] = true
    end
  end
  return found
end

-- The holder ends in order. Its row expires: a lease call whose answer was lost may have granted something.
function W.goodbye(s, holder)
  call('HSET', s.holders, holder, pack8(0))
end

-- A daemon says how it is; who fell silent long ago is told of no more.
function W.announce(s, holder, daemon, lasts, silent)
  call('HSET', s.daemons, holder, pack8(s.now) .. pack8(s.now + lasts) .. daemon)
  local rows = call('HGETALL', s.daemons)
  for i = 1, #rows, 2 do
    if unpack8(rows[i + 1], 9) < s.now - silent then
      call('HDEL', s.daemons, rows[i])
    end
  end
end

function W.forget_daemon(s, holder)
  call('HDEL', s.daemons, holder)
end

local function forget(s, ids)
  W.spread('HDEL', s.jobs, ids)
  W.spread('HDEL', s.ends, ids)
  W.spread('ZREM', s.ids, ids)
end

-- Fields of a hash whose time is over; answers whether there may be more.
local function forget_due(set, hash, now, limit)
  local gone = call('ZRANGE', set, '-inf', now, 'BYSCORE', 'LIMIT', 0, limit)
  W.spread('HDEL', hash, gone)
  W.spread('ZREM', set, gone)
  return #gone == limit
end

-- Forgets final jobs that ended before `finished` and `dead`, and what only mattered for a time.
function W.prune(s, finished, dead, limit)
  local ids, counts = {}, { completed = 0, cancelled = 0 }
  local looked, looks, more = 0, 0, false
  local rest
  for _, row in ipairs(call('LRANGE', s.fin, 0, limit - 1)) do
    if unpack8(row, 1) >= finished then
      break
    elseif looks == limit then
      more = true
      break
    end
    looked = looked + 1
    for at = 9, #row, 16 do
      if looks == limit then
        -- Of those that ended together, some stay for the next call.
        rest, more = sub(row, 1, 8) .. sub(row, at), true
        break
      end
      looks = looks + 1
      local id = sub(row, at, at + 15)
      local ended = call('HGET', s.ends, id)
      -- One that ended, was forgotten and came again ends anew.
      if ended and sub(ended, 2, 9) == sub(row, 1, 8) then
        local state = STATES[sub(ended, 1, 1)]
        counts[state] = counts[state] + 1
        ids[#ids + 1] = id
      end
    end
  end
  if looked > 0 then
    call('LTRIM', s.fin, looked, -1)
    if rest then
      call('LPUSH', s.fin, rest)
    end
    forget(s, ids)
    s:count('completed', -counts.completed)
    s:count('cancelled', -counts.cancelled)
  end
  local jobs = #ids
  more = more or looked == limit
  if dead > 0 then
    local gone = call('ZRANGE', s.died, '-inf', '(' .. string.format('%.0f', dead), 'BYSCORE', 'LIMIT', 0, limit)
    if #gone > 0 then
      W.spread('ZREM', s.died, gone)
      W.spread('ZREM', s.dead, gone)
      forget(s, gone)
      s:count('dead', -#gone)
      jobs, more = jobs + #gone, more or #gone == limit
    end
  end
  call('ZREMRANGEBYSCORE', s.watched, '-inf', s.now)
  for set, hash in pairs({ [s.forget] = s.idempotency, [s.windows] = s.uniques }) do
    more = forget_due(set, hash, s.now, limit) or more
  end
  return jobs, more
end

-- What is forgotten of all queues together.
function W.prune_common(prefix, now, limit)
  local common = prefix .. ':{_}'
  local more = false
  for set, hash in pairs({ [':cached'] = ':cache', [':forget'] = ':idempotency' }) do
    more = forget_due(common .. set, common .. hash, now, limit) or more
  end
  return more
end
