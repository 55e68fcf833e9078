-- A job that waits: into its place and out of it, let go, ended unrun.

-- A new or due job with a position of this call: behind the others, or behind its gate. Plain ones of many are appended together.
function W.place(s, j)
  if j.h.key and not W.admit(s, j, false) then
    return
  end
  j.state = 'q'
  W.write_job(s, j)
  W.append(s, j.h.priority, W.lane(j), { pack8(j.pos) .. j.id })
end

-- Back to where it stood before it was leased.
function W.put_back(s, j)
  if not j.h.key or W.admit(s, j, true) then
    W.put_among_heads(s, j)
  end
end

-- Whether a job whose state says that it is queued stands somewhere; otherwise it runs.
function W.stands(s, j)
  local line, heads = W.line_keys(s, j.h.priority, W.lane(j))
  if j.state == 'q' then
    local first = call('LINDEX', line, 0)
    return first and unpack8(first, 1) <= j.pos
  end
  local place = heads
  if j.state == 'u' then
    place = s.suspects
  elseif j.state == 'g' or j.state == 'b' then
    local g = W.gate(s, W.gate_key(j.h))
    place = j.state == 'g' and g.wait or g.behind
  end
  return call('ZSCORE', place, j.id)
end

-- Where a job stands: one of STATES' words, and the job if it lives. Nothing when there is none.
function W.state_of(s, id)
  local ended = call('HGET', s.ends, id)
  if ended then
    return STATES[sub(ended, 1, 1)]
  end
  local j = W.read_job(s, id)
  if not j then
    return nil
  end
  local state = STATES[j.state]
  if state == 'queued' and not W.stands(s, j) then
    return 'running', j
  end
  return state, j
end

-- Takes a waiting job out of its place. What stands in its line's list is left there, and means nothing any more.
function W.displace(s, j)
  if j.h.expires_at then
    call('ZREM', s.expiries, j.id)
  end
  if j.state == 's' then
    call('ZREM', s.due, j.id)
  elseif j.state == 'p' then
    W.unpark_marks(s, j)
  elseif j.state == 'h' then
    local _, heads = W.line_keys(s, j.h.priority, W.lane(j))
    call('ZREM', heads, j.id)
  elseif j.state == 'u' then
    call('ZREM', s.suspects, j.id)
  end
  -- Whatever its state, the turn of an ordered job ends with it.
  if j.h.key then
    W.leave_gate(s, j)
  end
end

function W.unpark_marks(s, j)
  call('ZREM', s.parks, j.id)
  if j.h.token then
    call('HDEL', s.tokens, j.h.token)
  end
  if j.h.reason == 'unknown_kind' then
    call('SREM', s.base .. ':unknown:' .. j.kind, j.id)
  end
  j.h.park_until, j.h.token, j.h.reason = nil, nil, nil
end

function W.schedule(s, j, at)
  j.state, j.h.run_at = 's', at
  W.write_job(s, j)
  call('ZADD', s.due, at, j.id)
  -- Whoever sleeps until the next due instant must hear of an earlier one.
  s.work = true
end

function W.park(s, j, reason, till, token)
  j.state, j.h.reason, j.h.park_until, j.h.token = 'p', reason, till, token
  W.write_job(s, j)
  call('ZADD', s.parks, till, j.id)
  if token then
    call('HSET', s.tokens, token, j.id)
  end
  if reason == 'unknown_kind' then
    call('SADD', s.base .. ':unknown:' .. j.kind, j.id)
  end
  s.work = true
end

-- The job is due: it gets a position, unless it is ordered and has one, and its place.
function W.let_go(s, j, from)
  s:move(from, 'queued')
  W.set_lane(s, j)
  if j.h.ordered and j.pos > 0 then
    if W.admit(s, j, false) then
      W.put_among_heads(s, j)
    end
    return
  end
  j.pos = s:next_pos(1)
  W.place(s, j)
end

-- Wakes a parked job: into its line if it is due, else back to waiting for its time. Answers its state.
function W.unpark(s, j)
  W.unpark_marks(s, j)
  W.drop_parents(s, j.id)
  if j.h.run_at > s.now then
    W.schedule(s, j, j.h.run_at)
    s:move('parked', 'scheduled')
    return 'scheduled'
  end
  W.let_go(s, j, 'parked')
  return 'queued'
end

-- How a job ended, as `ends` has it: state, times, holder, nonce, epoch, reason, result.
local NOBODY = string.rep('\0', 32)

function W.ended(state, finished, started, proof, epoch, reason, result)
  return concat({ state, pack8(finished), pack8(started or 0), proof or NOBODY, pack8(epoch or 0), pack('>I2', #(reason or '')), reason or '', result or '' })
end

-- The job is final: `c`, `x` or `d`. What it holds and what hangs on it is the caller's affair.
function W.bury(s, id, state, ended)
  call('HSET', s.ends, id, ended)
  if state == 'd' then
    call('ZADD', s.dead, 0, id)
    call('ZADD', s.died, s.now, id)
  else
    call('RPUSH', s.fin, pack8(s.now) .. id)
  end
end

-- Ends a job unrun that stands in no place any more.
function W.end_waiting(s, j, state, reason)
  local from = STATES[j.state]
  j.state = 'p'
  W.write_job(s, j)
  W.bury(s, j.id, state, W.ended(state, s.now, nil, nil, nil, reason))
  W.drop_parents(s, j.id)
  s:move(from, STATES[state])
  W.after_end(s, j, state)
end

-- What hangs on the end of a job: its unique key, its follow-up, those that wait for it.
function W.after_end(s, j, state)
  if j.h.unique then
    W.unique_ended(s, j)
  end
  W.follow(s, j, state)
end

-- The same once its key is free. `made`: the jobs that its settlement made, if any.
function W.follow(s, j, state, made)
  local follow = state == 'c' and j.h.on_success or state == 'd' and j.h.on_failure
  if follow then
    made = made or {}
    made[#made + 1] = W.follow_up(s, cmsgpack.unpack(W.unhex(follow)), j.id, j.h.tenant, true)
  end
  if made then
    W.name_children(s, j.id, made)
  end
  W.tell_children(s, j.id)
end

-- Writes into a job which others it made: each once, the newest last, the newest 100.
function W.name_children(s, id, made)
  local j = W.read_job(s, id)
  if not j then
    return
  end
  local children, seen = j.h.children or {}, {}
  for _, child in ipairs(children) do
    seen[child] = true
  end
  for _, child in ipairs(made) do
    local hex = W.hex(child)
    if not seen[hex] then
      children[#children + 1], seen[hex] = hex, true
    end
  end
  j.h.children = { unpack(children, max(1, #children - 99)) }
  W.write_job(s, j)
end

-- A job that did not start in time.
function W.expire(s, j)
  W.end_waiting(s, j, s:kind(j.kind).on_expire == 'dead' and 'd' or 'x', 'expired')
end
