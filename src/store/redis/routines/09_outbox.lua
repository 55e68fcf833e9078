-- What one shard has to tell another. On one server that is done at once. In a cluster the other may be on another server: then the message
-- stays here until a daemon has delivered it, in the order in which they were sent; it may be delivered twice, and does nothing the second time.
--
--   <base>:outbox   zset   messages by their number
--
-- A message is a map: `what`, and `to`, the tag of its shard. A `watch` has none, since nobody knows where the parent is: it goes to all.

local receive = {}

-- Answers what the other said, where it could be told at once.
function W.send(s, m)
  if ONE then
    return receive[m.what](W.beside(s, m.to), m)
  end
  local said = m.to == s.tag and (receive[m.what](s, m) or true)
  -- What is held off stays until it is not.
  if not said or type(said) == 'table' and said.err then
    local number = call('HINCRBY', s.base, 'sent', 1)
    call('ZADD', s.outbox, number, pack8(number) .. cmsgpack.pack(m))
  end
  return said
end

local function opened(member)
  return cmsgpack.unpack(sub(member, 9))
end

-- Messages that wait to be delivered: of each all of it, and whom it is for.
function W.outgoing(s, limit)
  local list = {}
  for i, member in ipairs(call('ZRANGE', s.outbox, 0, limit - 1)) do
    list[2 * i - 1], list[2 * i] = member, opened(member).to or ''
  end
  return list
end

function W.deliver(s, member)
  local m = opened(member)
  return receive[m.what](s, m) or ''
end

-- The shard's own `watch` was asked of all others: how the parent stands, if it is there. It may have come here meanwhile.
function W.answered(s, member, letter)
  local m = opened(member)
  m.letter = letter ~= '' and letter or W.watch(s, m) or 'm'
  W.hear(s, m)
end

receive.watch = function(s, m)
  return W.watch(s, m)
end

receive.told = function(s, m)
  W.hear(s, m)
end

-- A job that another's end makes, or a schedule: it must not fail what makes it, so a held key means there is nothing to do.
-- Answers what stands for it: itself, or the job that its id or key belongs to.
receive.job = function(s, m)
  local n, id = cmsgpack.unpack(W.unhex(m.n)), W.unhex(m.id)
  if call('HEXISTS', s.jobs, id) == 1 then
    -- Delivered before, perhaps when the queue had another number of partitions.
    return m.id
  end
  local held, elsewhere = W.held_off(s, n), W.moved(s, n, id)
  if held then
    return held
  elseif elsewhere then
    m.to = elsewhere
    return W.send(s, m)
  end
  local taken, stands = false, nil
  local refused = W.refusal({ { shard = s, n = n, ids = { id } } })
  if refused then
    stands = refused.id
  else
    local answered = W.enqueue_one(s, id, n, n.payload)
    taken = sub(answered, 1, 1) == '0'
    stands = taken and id or sub(answered, 3)
    local j = sub(answered, 2, 2) == 'p' and W.read_job(s, id)
    if j and j.state == 'p' then
      W.look_at_parents(s, j)
    end
  end
  if not taken and m.schedule then
    W.send(s, { what = 'skipped', to = '_', schedule = m.schedule, due = m.due })
  end
  return W.hex(stands)
end

receive.effect = function(s, m)
  W.write_effect(s, m)
end

receive.skipped = function(s, m)
  W.skip_occurrence(s.base, m.schedule, m.due)
end

-- A job made by the end of another. Answers what stands for it; as long as only another shard could tell, itself.
function W.follow_up(s, n, parent, tenant, is_fresh)
  n.tenant, n.parent = tenant, W.hex(parent)
  if n.unique and n.unique.on_duplicate == 'reject' then
    n.unique.on_duplicate = 'return'
  end
  local id = W.unhex(n.id)
  if is_fresh and not n.is_producers then
    -- A redriven job may end again, and its follow-up is another job then.
    id = W.mint(s)
  end
  local said = W.send(s, { what = 'job', to = W.tag_of(s, n.queue or s:kind(n.kind).queue, n, id), id = W.hex(id), n = W.hex(cmsgpack.pack(n)) })
  return type(said) == 'string' and W.unhex(said) or id
end
