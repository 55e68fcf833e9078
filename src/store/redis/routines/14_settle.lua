-- The end of an attempt: fence, result, follow-ups, effects, usage and the job's next place, in one step.

local APPLIED, BEFORE, LOST = 'a', 'b', 'l'
local PLAIN = byte('c')

-- The lease is not there: was it this very settlement that ended it?
local function told_before(s, id, epoch, nonce)
  local proof = nonce .. pack8(tonumber(epoch))
  local ended = call('HGET', s.ends, id)
  if ended and sub(ended, 34, 57) == proof then
    return BEFORE
  end
  -- Whatever it became since.
  local j = W.read_job(s, id)
  return j and j.h.settled == W.hex(proof) and BEFORE or LOST
end

-- What the lease held beside the job goes with it: slots, turns, the rights of a suspect.
local function leave_run(s, item, to_final, is_released)
  local flags, lane = item.flags, item.lane
  if lane ~= '' then
    s:run(lane, -1)
    W.reopen_lane(s, lane)
  end
  if has(flags, SUSPECT) then
    call('HDEL', s:alone_in(), item.holder)
    s.work = true
  end
  if has(flags, KEYED) and not is_released then
    W.gate_ends(s, W.gate_key(item.job.h), item.id, to_final or s:rules().skip)
  end
end
W.leave_run = leave_run

-- Answers the jobs that it made, if any.
local function write_beside(s, item, t)
  local tenant = item.job.h.tenant or ''
  for n, usage in ipairs(t.usage or {}) do
    call('HSET', s.usage, concat({ W.hex(item.id), ':', item.epoch, ':', n }), usage)
  end
  for _, effect in ipairs(t.effects or {}) do
    effect.what, effect.to, effect.tenant, effect.job, effect.at = 'effect', '_', tenant, W.hex(item.id), s.now
    W.send(s, effect)
  end
  local made = t.follow_ups and #t.follow_ups > 0 and {} or nil
  for i, n in ipairs(t.follow_ups or {}) do
    made[i] = W.follow_up(s, cmsgpack.unpack(W.unhex(n)), item.id, item.job.h.tenant, false)
  end
  return made
end

local OUTCOMES = { r = 'retried', n = 'snoozed', p = 'parked', x = 'cancelled', d = 'dead', l = 'released' }

-- Anything but a plain completion. `t`: what becomes of the job, as rows.rs packs it.
local function settle_with_care(s, item, t)
  local j = item.job
  local asked = call('HGET', s.cancels, item.id)
  local verdict, reason = t.verdict, t.reason
  if asked then
    call('HDEL', s.cancels, item.id)
    -- Whoever asked said why; a run that was stopped for it can only say that it was.
    if verdict ~= 'c' and verdict ~= 'd' then
      verdict, reason = 'x', asked
    end
  end
  call('HDEL', s.progress, item.id)
  local proof = item.nonce .. pack8(tonumber(item.epoch))
  local is_final = verdict == 'c' or verdict == 'x' or verdict == 'd'
  if verdict ~= 'c' then
    W.add_record(j, t.started_at, s.now, item.holder, OUTCOMES[verdict], t.error, verdict == 'r' and t.till)
    if verdict == 'r' or verdict == 'd' then
      j.h.attempt = (j.h.attempt or 0) + 1
    end
    if t.checkpoint then
      j.h.checkpoint, j.h.answer = t.checkpoint, nil
    end
    j.h.settled = W.hex(proof)
  end
  leave_run(s, item, is_final, verdict == 'l')
  if is_final then
    j.state = 'p'
    W.write_job(s, j)
    W.bury(s, item.id, verdict, W.ended(verdict, s.now, t.started_at, item.holder .. item.nonce, tonumber(item.epoch), reason, t.result))
    s:move('running', STATES[verdict])
  elseif verdict == 'l' then
    s:move('running', 'queued')
    W.put_back(s, j)
    if has(item.flags, KEYED) then
      local g = W.gate(s, W.gate_key(j.h))
      call('SREM', g.run, j.id)
      s.refills[g.key] = true
    end
  elseif verdict == 'p' then
    s:move('running', 'parked')
    W.park(s, j, reason, t.till, t.token)
  else
    s:move('running', 'scheduled')
    W.schedule(s, j, t.till)
  end
  if is_final and j.h.unique then
    -- A follow-up may want the key.
    W.unique_ended(s, j)
  end
  local made = write_beside(s, item, t)
  if is_final then
    W.follow(s, j, verdict, made)
  elseif made then
    W.name_children(s, item.id, made)
  end
end

-- Those that come back first, all of them, before any gate lets others in.
local function settle_others(s, items)
  local others = {}
  for _, item in ipairs(items) do
    item.job = W.read_job(s, item.id)
    local verdict = item.verdict
    if not item.job then
      s:count('running', -1)
    elseif byte(verdict, 1) == PLAIN then
      item.t = { verdict = 'c', started_at = unpack8(verdict, 2), result = #verdict > 9 and sub(verdict, 10) or nil }
      others[#others + 1] = item
    else
      item.t = cmsgpack.unpack(sub(verdict, 2))
      if item.t.verdict == 'l' then
        settle_with_care(s, item, item.t)
      else
        others[#others + 1] = item
      end
    end
  end
  for _, item in ipairs(others) do
    settle_with_care(s, item, item.t)
  end
end

-- The settlements of one claim: place, id and verdict of each, from `from` on. Plain completions are written at once; `b.later`
-- gets the others. Answers a letter for each.
local function settle_claim(s, b, epoch, nonce, args, from, to)
  local claim = W.claim(s, epoch)
  if claim and claim:nonce() ~= nonce then
    claim = nil
  end
  local answers, ends, gone, seen = b.answers, b.ends, {}, {}
  local before, after
  if claim then
    before, after = 'c' .. b.now8, concat({ claim:holder(), nonce, pack8(tonumber(epoch)), '\0\0' })
  end
  local at, m, n, has_asks = #answers, #ends, 0, b.has_asks
  for i = from, to, 3 do
    local place, id, verdict = tonumber(args[i]), args[i + 1], args[i + 2]
    local flags = claim and place and claim:flags(place)
    at = at + 1
    if not flags or claim:id(place) ~= id then
      answers[at] = told_before(s, id, epoch, nonce)
    elseif seen[place] then
      answers[at] = BEFORE
    else
      n = n + 1
      answers[at], seen[place], gone[n] = APPLIED, true, place
      local lane = claim:lane(place)
      if flags == 0 and byte(verdict, 1) == PLAIN and not has_asks then
        ends[m + 1], ends[m + 2] = id, before .. sub(verdict, 2, 9) .. after .. sub(verdict, 10)
        m = m + 2
        if lane ~= '' then
          s:run(lane, -1)
          if b.is_capped then
            W.reopen_lane(s, lane)
          end
        end
      else
        b.later[#b.later + 1] = { epoch = epoch, nonce = nonce, id = id, verdict = verdict, flags = flags, lane = lane, holder = claim:holder() }
      end
    end
  end
  if claim then
    claim:drop(gone)
  end
end

-- The arguments from `from` on are, of each claim, its epoch, its nonce and the number of its settlements, and these: place, id and
-- verdict. A verdict that begins with `c` is a plain completion: when it started, and its result; one that begins with `m` is a
-- map that says more. Answers a letter for each.
function W.settle(s, args, from)
  local has_children = W.is_waited_for(s)
  local b = { answers = {}, ends = {}, later = {}, now8 = pack8(s.now), has_asks = call('EXISTS', s.cancels) == 1, is_capped = s:rules().tenant_concurrency }
  local at = from
  while at <= #args do
    local last = at + 2 + 3 * tonumber(args[at + 2])
    settle_claim(s, b, args[at], args[at + 1], args, at + 3, last)
    at = last + 1
  end
  local plain = #b.ends / 2
  if plain > 0 then
    local ids = {}
    for i = 1, plain do
      ids[i] = b.ends[2 * i - 1]
    end
    W.spread('HSET', s.ends, b.ends, 2)
    -- Those that ended together stand together.
    call('RPUSH', s.fin, b.now8 .. concat(ids))
    if call('EXISTS', s.progress) == 1 then
      W.spread('HDEL', s.progress, ids)
    end
    s:count('running', -plain)
    s:count('completed', plain)
    if has_children then
      for i = 1, plain do
        W.tell_children(s, ids[i])
      end
    end
  end
  settle_others(s, b.later)
  if s:rules().concurrency then
    -- A slot of the queue's own limit came free.
    s.work = true
  end
  return concat(b.answers)
end
