-- What people and programs ask for beside the flow: cancel, run now, redrive, purge, pause. Each act leaves one audit row whose
-- field is its `op_id`; the same act asked again changes nothing.

local audit = W.audit

local function no_such_job()
  return { 'missing' }
end

local function not_allowed(state)
  return { 'not_allowed', state }
end

-- What speaks against an act on a job, or that it was done before; otherwise the job's state, and the job if it lives.
local function begin(s, id, op, allowed)
  local state, j = W.state_of(s, id)
  if not state then
    return no_such_job()
  elseif call('HEXISTS', s.audit, op.id) == 1 then
    return { 'ok' }
  elseif not allowed[state] then
    return not_allowed(state)
  end
  return nil, state, j
end

function W.cancel(s, id, reason, op)
  local state, j = W.state_of(s, id)
  if not state then
    return no_such_job()
  end
  local is_first = audit(s.base, op)
  if state == 'cancelled' and not is_first then
    return { 'now' }
  elseif not j then
    return { 'final' }
  elseif state == 'running' then
    call('HSET', s.cancels, id, reason)
    s.cancelled = true
    return { 'asked' }
  end
  W.displace(s, j)
  W.end_waiting(s, j, 'x', reason)
  return { 'now' }
end

function W.run_now(s, id, op)
  local answer, state, j = begin(s, id, op, { scheduled = true, parked = true })
  if answer then
    return answer
  end
  audit(s.base, op)
  if state == 'scheduled' then
    call('ZREM', s.due, id)
  else
    W.unpark_marks(s, j)
  end
  W.drop_parents(s, id)
  j.h.run_at = s.now
  W.let_go(s, j, state)
  return { 'ok' }
end

-- Changes a job that waits, or a dead letter: of `new` what there is. Answers as the sentences of `job::Edit` go.
function W.edit(s, id, new, was, op)
  local answer, state, j = begin(s, id, op, { scheduled = true, queued = true, parked = true, dead = true })
  if answer then
    return answer
  end
  local moves = new.priority or new.run_at
  if state == 'dead' then
    j = W.read_job(s, id)
  end
  if new.run_at and (state == 'dead' or state == 'parked') then
    return { 'without_time', state }
  elseif state == 'queued' and moves and j.h.ordered then
    return { 'keeps_turn', state }
  elseif state == 'queued' and moves and j.state == 'u' then
    return { 'keeps_place', state }
  elseif was ~= '' and j.payload ~= was then
    return { 'outdated' }
  end
  audit(s.base, op)
  local is_moved = state == 'queued' and moves
  if is_moved then
    W.displace(s, j)
    s:count('queued', -1)
  end
  j.payload = new.payload or j.payload
  for name, value in pairs(new) do
    if name ~= 'payload' then
      j.h[name] = value
    end
  end
  if is_moved then
    W.set_lane(s, j)
    if j.h.expires_at then
      call('ZADD', s.expiries, j.h.expires_at, id)
    end
    local after = j.h.after
    j.h.after = nil
    W.put_job(s, j)
    if after then
      j.h.after = after
      W.write_job(s, j)
    end
    return { 'ok' }
  end
  W.write_job(s, j)
  if new.run_at then
    W.schedule(s, j, new.run_at)
  end
  return { 'ok' }
end

-- The answer goes beside the checkpoint that the worker left.
function W.unpark_by(s, token, answer, op)
  local id = call('HGET', s.tokens, token)
  local j = id and W.read_job(s, id)
  if not j or j.state ~= 'p' then
    return no_such_job()
  end
  op.object = W.uuid(id)
  audit(s.base, op)
  if answer ~= '' then
    local old = j.h.checkpoint
    if not old then
      j.h.checkpoint = '{"answer":' .. answer .. '}'
    else
      j.h.checkpoint, j.h.answer = old, answer
    end
  end
  W.unpark(s, j)
  return { 'ok', id }
end

function W.unpark_kinds(s, kinds)
  local woken = 0
  for _, kind in ipairs(kinds) do
    for _, id in ipairs(call('SRANDMEMBER', s.base .. ':unknown:' .. kind, BATCH)) do
      local j = W.read_job(s, id)
      if j and j.state == 'p' then
        W.unpark(s, j)
        woken = woken + 1
      else
        call('SREM', s.base .. ':unknown:' .. kind, id)
      end
    end
  end
  return woken
end

-- A dead job gets up, its attempts counted anew; their records stay.
function W.redrive(s, id, op)
  local answer = begin(s, id, op, { dead = true })
  if answer then
    return answer
  end
  local j = W.read_job(s, id)
  if not j then
    return no_such_job()
  end
  if j.h.unique then
    local other = W.unique_again(s, j)
    if other then
      return { 'duplicate', other }
    end
  end
  audit(s.base, op)
  call('HDEL', s.ends, id)
  call('ZREM', s.dead, id)
  call('ZREM', s.died, id)
  local h = j.h
  h.attempt, h.deaths, h.expires_at, h.reason, h.run_at = nil, nil, nil, nil, s.now
  j.pos = 0
  W.let_go(s, j, 'dead')
  return { 'ok' }
end

function W.purge(s, id, op)
  local answer = begin(s, id, op, { dead = true })
  if answer then
    return answer
  end
  audit(s.base, op)
  for _, key in ipairs({ s.jobs, s.ends }) do
    call('HDEL', key, id)
  end
  for _, key in ipairs({ s.ids, s.dead, s.died }) do
    call('ZREM', key, id)
  end
  s:count('dead', -1)
  if not ONE then
    -- On one server they look for themselves.
    W.tell_children(s, id)
  end
  return { 'ok' }
end

-- `till` is when it ends by itself, or nothing.
function W.pause(s, row, till, op)
  if audit(s.base, op) then
    call('HSET', s.base, 'pause', row, 'pause_until', till)
    s:enrol()
  end
end

function W.resume(s, op)
  if audit(s.base, op) then
    call('HDEL', s.base, 'pause', 'pause_until')
    s:enrol()
    s.work = true
  end
end

-- What is kept of a token; its end, if it has one, beside it.
function W.put_token(common, id, text, ends_at, op)
  if call('HSETNX', common .. ':access_tokens', id, text) == 0 then
    return call('HEXISTS', common .. ':audit', op.id) == 1
  end
  audit(common, op)
  if ends_at ~= '' then
    call('HSET', common .. ':access_ends', id, ends_at)
  end
  return true
end

function W.end_token(common, id, at, op)
  if call('HEXISTS', common .. ':access_tokens', id) == 0 then
    return false
  elseif not audit(common, op) then
    return true
  end
  local ends_at = tonumber(call('HGET', common .. ':access_ends', id) or huge)
  if at < ends_at then
    call('HSET', common .. ':access_ends', id, string.format('%.0f', at))
    call('HSET', common .. ':access_told', id, string.format('%.0f', op.at))
  end
  return true
end

-- Tokens that are worth something after `now`, each with its end, and how many there are in all.
function W.live_tokens(common, now)
  local ends, ids = {}, {}
  local all = call('HGETALL', common .. ':access_ends')
  for i = 1, #all, 2 do
    ends[all[i]] = all[i + 1]
  end
  for _, id in ipairs(call('HKEYS', common .. ':access_tokens')) do
    if tonumber(ends[id] or huge) > now then
      ids[#ids + 1] = id
    end
  end
  table.sort(ids)
  local live = {}
  for i, text in ipairs(#ids > 0 and W.fields(common .. ':access_tokens', ids) or {}) do
    live[i] = { ids[i], text, ends[ids[i]] or '' }
  end
  return { call('HLEN', common .. ':access_tokens'), live }
end

-- Forgets tokens that ended before `before`. One stays when all have: once there was a token, everybody needs one.
function W.prune_tokens(common, before, now, limit)
  local ends, gone = call('HGETALL', common .. ':access_ends'), 0
  local left = call('HLEN', common .. ':access_tokens')
  for i = 1, #ends, 2 do
    local id, at = ends[i], tonumber(ends[i + 1])
    if at == 0 then
      -- Of one that ended at once before this was kept, it is known from now on.
      call('HSETNX', common .. ':access_told', id, string.format('%.0f', now))
    end
    at = max(at, tonumber(call('HGET', common .. ':access_told', id) or 0))
    if at <= before and left > 1 and gone < limit then
      for _, hash in ipairs({ ':access_tokens', ':access_ends', ':access_told' }) do
        call('HDEL', common .. hash, id)
      end
      left, gone = left - 1, gone + 1
    end
  end
  return gone == limit
end

-- New rules: a cap or a rate may have been raised, so lanes that were shut look again, and so do gates that hold somebody back, from the next call on
-- that time brings.
function W.configured(s)
  for _, lane in ipairs(call('SMEMBERS', s.shut)) do
    W.reopen_lane(s, lane)
  end
  W.look_at_gates(s)
  s.work = true
end

-- Takes in what was exported elsewhere, as it stood there. Answers whether it was new.
function W.import(s, id, n, payload)
  if call('HEXISTS', s.jobs, id) == 1 then
    return false
  end
  local j = { id = id, kind = n.kind, payload = payload, pos = 0, h = n.head, state = 'p' }
  s:enrol()
  if n.unique then
    local name = (j.h.tenant or '') .. '\0' .. j.h.unique
    call('HSETNX', s.uniques, name, concat({ n.unique.held, '1', pack8(n.unique.held == 'w' and s.now + n.unique.window or 0), pack8(s.now), id }))
  end
  call('ZADD', s.ids, 0, id)
  W.set_lane(s, j)
  if n.state == 'd' then
    W.write_job(s, j)
    call('HSET', s.ends, id, W.ended('d', n.finished_at, n.started_at, nil, nil, n.reason))
    call('ZADD', s.dead, 0, id)
    call('ZADD', s.died, n.finished_at, id)
    s:count('dead', 1)
  else
    if j.h.expires_at and not j.h.attempts then
      call('ZADD', s.expiries, j.h.expires_at, id)
    end
    if n.state == 's' then
      s:count('scheduled', 1)
      W.schedule(s, j, j.h.run_at)
    elseif n.state == 'p' then
      s:count('parked', 1)
      W.park(s, j, n.reason, n.park_until, n.token)
      if n.waits_for then
        local after = j.h.after
        j.h.after = n.waits_for  -- those that are open still
        W.put_parents(s, j)
        j.h.after = after
        -- One may have ended here before its child came.
        W.look_at_parents(s, j)
      end
    else
      s:count('queued', 1)
      W.let_go(s, j, 'queued')
    end
  end
  -- Children that came before it stop reading it as missing.
  W.tell_children(s, id)
  return true
end
