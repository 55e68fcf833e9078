-- The functions, by the names that the driver calls them by. The keys are the bases of the shards; the first argument is the instant, or
-- nothing for the server's clock.

local F = {}

-- An act: its `op_id`, and what its audit row says. A detail comes behind a sign, which nothing has that is not there.
local function op_of(s, args, at)
  local detail = args[at + 4] ~= '' and sub(args[at + 4], 2) or nil
  return { id = args[at], at = s.now, actor = args[at + 1], action = args[at + 2], object = args[at + 3], detail = detail }
end

local function groups_of(args, keys, now)
  local shards = {}
  for i, base in ipairs(keys) do
    shards[i] = W.at(base, now)
  end
  return W.packed_groups(shards, args, 2)
end

local function refused_of(groups)
  local misplaced = W.misplaced(groups)
  if misplaced then
    return misplaced
  end
  local refused = W.may_be_refused(groups) and W.refusal(groups)
  return refused and redis.error_reply(concat({ 'WINDLASS_', refused.code, ' ', refused.index, ' ', W.hex(refused.id) })) or nil
end

function F.enqueue(_, args, keys, now)
  local groups, answers = groups_of(args, keys, now), {}
  local refused = refused_of(groups)
  if not refused then
    W.take_in(groups, answers)
  end
  return refused or answers
end

function F.lease(_, args, keys, now)
  local c = { holder = args[2], nonce = args[3], node = args[4], lease = tonumber(args[5]), bytes = tonumber(args[6]),
    may_suspect = args[7] == '1', kinds = {} }
  local wants, shards = {}, {}
  for i, base in ipairs(keys) do
    wants[i], shards[i] = tonumber(args[7 + i]), W.at(base, now)
  end
  for i = 8 + #keys, #args do
    c.kinds[args[i]] = true
  end
  return W.lease(shards, wants, c)
end

function F.check(_, args, keys, now)
  return refused_of(groups_of(args, keys, now))
end

function F.enrol(s, args)
  return W.enrol(s.prefix, args[2])
end

function F.outgoing(s, args)
  return W.outgoing(s, tonumber(args[2]))
end

function F.deliver(s, args)
  return W.deliver(s, args[2])
end

function F.answered(s, args)
  W.answered(s, args[2], args[3])
end

function F.delivered(s, args)
  for i = 2, #args do
    call('ZREM', s.outbox, args[i])
  end
end

function F.quarantine(s, args)
  W.quarantine_leased(s, args[2], args[3], tonumber(args[4]), args[5])
end

function F.is_leased(s, args)
  local claim = W.claim(s, args[2])
  return claim and claim:flags(tonumber(args[3])) and 1 or 0
end

function F.leased_by(s, args)
  return W.leased_by(s, args[2])
end

function F.beat(s, args)
  local held, progress, at = {}, {}, 6
  for i = 1, 3 * args[5] do
    held[i] = args[at]
    at = at + 1
  end
  for i = at, #args do
    progress[#progress + 1] = args[i]
  end
  return W.beat(s, args[2], args[3], tonumber(args[4]), held, progress)
end

function F.goodbye(s, args)
  W.goodbye(s, args[2])
end

function F.settle(s, args)
  return W.settle(s, args, 2)
end

function F.advance(s)
  local done = W.advance(s)
  local due = W.next_due(s)
  return { done.due, done.admitted, done.expired, done.parks, done.more and 1 or 0, due < huge and string.format('%.0f', due) or '',
    tonumber(call('HGET', s.base, 'epoch') or 0) }
end

function F.reap(s, args)
  local dead = args[2] ~= '' and W.holders_at(s, args[2]) or {}
  -- Remote workers that leased through that daemon are processes of their own.
  for i = 4, #args do
    dead[args[i]] = nil
  end
  local reaped = W.reap(s, dead, tonumber(args[3]))
  return { reaped.requeued, reaped.suspects, reaped.poisoned, reaped.more and 1 or 0 }
end

function F.prune(s, args)
  local jobs, more = W.prune(s, tonumber(args[2]), tonumber(args[3]), tonumber(args[4]))
  more = W.prune_audit(s.base, args[5], tonumber(args[4])) or more
  return { jobs, more and 1 or 0 }
end

function F.prune_common(s, args, _, now)
  W.forget_occurrences(s.base, args[3])
  local more = W.prune_audit(s.base, args[4], tonumber(args[2]))
  more = W.prune_tokens(s.base, tonumber(args[5]), now, tonumber(args[2])) or more
  return (W.prune_common(s.prefix, now, tonumber(args[2])) or more) and 1 or 0
end

function F.cancel(s, args)
  return W.cancel(s, args[2], args[3], op_of(s, args, 4))
end

function F.run_now(s, args)
  return W.run_now(s, args[2], op_of(s, args, 3))
end

function F.redrive(s, args)
  return W.redrive(s, args[2], op_of(s, args, 3))
end

function F.purge(s, args)
  return W.purge(s, args[2], op_of(s, args, 3))
end

function F.unpark(s, args)
  return W.unpark_by(s, args[2], args[3], op_of(s, args, 4))
end

function F.unpark_kinds(s, args)
  local kinds = {}
  for i = 2, #args do
    kinds[i - 1] = args[i]
  end
  return W.unpark_kinds(s, kinds)
end

-- Of an argument that may be left out.
local function given(text)
  return text ~= '' and text or nil
end

function F.edit(s, args)
  local new = { payload = given(args[3]), priority = tonumber(args[4]), run_at = tonumber(args[5]), max_attempts = tonumber(args[6]), timeout_ms = tonumber(args[7]) }
  return W.edit(s, args[2], new, args[8], op_of(s, args, 9))
end

function F.pause(s, args)
  W.pause(s, args[2], args[3], op_of(s, args, 4))
end

function F.resume(s, args)
  W.resume(s, op_of(s, args, 2))
end

function F.announce(s, args)
  W.announce(s, args[2], args[3], tonumber(args[4]), tonumber(args[5]))
end

function F.forget_daemon(s, args)
  W.forget_daemon(s, args[2])
end

function F.put_settings(s, args)
  return W.put_settings(s.base, args[2], args[3], args[4] and op_of(s, args, 4))
end

function F.note(s, args)
  return W.audit(s.base, op_of(s, args, 2)) and 1 or 0
end

function F.audited(s, args)
  return W.audited(s.base, tonumber(args[2]), args[3], tonumber(args[4]))
end

function F.audit_head(s)
  return W.audit_head(s.base)
end

function F.put_token(s, args)
  return W.put_token(s.base, args[2], args[3], args[4], op_of(s, args, 5)) and 1 or 0
end

function F.end_token(s, args)
  return W.end_token(s.base, args[2], tonumber(args[3]), op_of(s, args, 4)) and 1 or 0
end

function F.live_tokens(s)
  return W.live_tokens(s.base, s.now)
end

function F.hold_keys(s, args)
  W.hold_keys(s, tonumber(args[2]))
end

function F.keyed(s, args)
  return W.keyed(s, args[2], tonumber(args[3]))
end

function F.configured(s)
  W.configured(s)
end

function F.import(s, args)
  return W.import(s, args[2], cmsgpack.unpack(args[3]), args[4]) and 1 or 0
end

function F.get(s, args)
  return W.get(s, args[2])
end

function F.standing(s, args)
  return W.standing(s, args[2], tonumber(args[3]), tonumber(args[4]), tonumber(args[5]))
end

function F.page(s, args)
  return W.page(s, args[2], tonumber(args[3]), args[4] == 'dead', args[5] == 'up', tonumber(args[6]))
end

function F.few(s, args)
  return W.few(s, args[2], tonumber(args[3]))
end

function F.rows(s, args)
  return W.rows(s, { unpack(args, 3) }, tonumber(args[2]))
end

function F.lanes(s)
  return W.lanes(s)
end

function F.loads(s, args)
  return W.loads(s, { unpack(args, 2) })
end

function F.beside_job(s, args)
  return W.beside_job(s, args[2])
end

function F.status(s)
  return W.status(s)
end

function F.put_schedule(s, args, _, now)
  return W.put_schedule(s.base, args[2], args[3], tonumber(args[4]), args[5] == '1', now, op_of(s, args, 6)) and 1 or 0
end

function F.fire(s, args)
  local plan = { generation = tonumber(args[3]), last = tonumber(args[4]), through = tonumber(args[5]), jobs = {} }
  if args[6] ~= '' then
    plan.skipped = { from = tonumber(args[6]), through = tonumber(args[7]), count = tonumber(args[8]), reason = args[9] }
  end
  for i = 10, #args, 5 do
    local n = cmsgpack.unpack(args[i + 3])
    n.payload = args[i + 4]
    plan.jobs[#plan.jobs + 1] = { due = tonumber(args[i]), tag = args[i + 1], id = args[i + 2], n = n }
  end
  return W.fire(s, args[2], plan) and 1 or 0
end

function F.delete_schedule(s, args)
  return W.delete_schedule(s.base, args[2], op_of(s, args, 3))
end

function F.pause_schedule(s, args)
  return W.pause_schedule(s.base, args[2], args[3], op_of(s, args, 4))
end

function F.call(name, keys, args)
  local moving = W.is_moving(keys)
  if moving then
    return moving
  end
  local now = W.clock(args[1])
  local s = W.begin(keys, now)
  -- Redis takes nothing back of a call that fails half way: what it has moved is counted all the same.
  local ok, reply = pcall(F[name], s, args, keys, now)
  W.finish()
  if not ok then
    error(reply, 0)
  elseif ONE or type(reply) == 'table' and reply.err then
    return reply
  end
  if reply == nil then
    reply = false
  end
  -- In a cluster, whether there is something to deliver goes with each answer.
  return { reply, call('EXISTS', s.outbox) }
end

return F
end

local functions

local function register(names, flags)
  for name in names:gmatch('%S+') do
    redis.register_function({ function_name = '{v}_' .. name, flags = flags, callback = function(keys, args)
      functions = functions or library()
      return functions.call(name, keys, args)
    end })
  end
end

register('check enqueue deliver answered enrol import lease leased_by run_now edit redrive unpark unpark_kinds pause resume put_settings put_token configured hold_keys put_schedule pause_schedule fire note')
-- Those who may only read may call these.
register('get audited audit_head live_tokens standing page few rows lanes loads beside_job status outgoing is_leased keyed', { 'no-writes' })
-- What only makes room, or ends what runs, goes on when the memory is full.
register('delivered quarantine beat announce goodbye forget_daemon settle advance reap prune prune_common cancel purge delete_schedule end_token', { 'allow-oom' })
