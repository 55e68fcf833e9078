-- Jobs that wait for others. A child knows of each parent how it stood when it last heard of it: `?` not asked yet, `l` it lives, `c` it
-- completed, `x` it will not, `m` there is none. On one server it looks for itself. In a cluster a parent may be on another server: then it is
-- asked by a message, keeps the child in mind, and tells it of its end by another.
--
--   <base>:parents:<child>    hash   parent -> how it stood
--   <base>:children:<parent>  set    child and its shard;  on one server under `{_}`
--   {_}:waiting               set    on one server, jobs with parents
--   <base>:telling            set    parents with many children, some of which have not heard of their end: those are in :telling:<parent>
--   <base>:watched            zset   in a cluster, parents that somebody waits for, here or perhaps here one day, by when that ends
--   <base>:asking             zset   in a cluster, children that miss a parent, by when they ask again

-- So long does a parent that is nowhere stay unasked about.
local AGAIN = 60000000
-- What is kept in mind for a child outlives any park (30 days at most).
local KEPT = 31 * 86400

local LETTER_OF = { completed = 'c', dead = 'x', cancelled = 'x' }

local function children_of(s, parent)
  return (ONE and s.prefix .. ':{_}' or s.base) .. ':children:' .. parent
end

local function parents_of(s, id)
  return s.base .. ':parents:' .. id
end

function W.put_parents(s, j)
  for _, parent in ipairs(j.h.after) do
    parent = W.unhex(parent)
    call('HSET', parents_of(s, j.id), parent, '?')
    if ONE then
      call('SADD', children_of(s, parent), j.id .. s.tag)
    end
  end
  if ONE then
    call('SADD', s.prefix .. ':{_}:waiting', j.id .. s.tag)
  end
end

function W.drop_parents(s, id)
  local key = parents_of(s, id)
  if ONE then
    for _, parent in ipairs(call('HKEYS', key)) do
      call('SREM', children_of(s, parent), id .. s.tag)
    end
    call('SREM', s.prefix .. ':{_}:waiting', id .. s.tag)
  end
  -- Elsewhere the child may still be told something, and then does not listen.
  call('DEL', key)
end

-- How the parent stands that is in this shard, if one of this tenant is.
local function standing_here(s, parent, tenant)
  local blob = call('HGET', s.jobs, parent)
  if blob then
    local j = W.read_job(s, parent)
    local state = j and j.h.tenant == tenant and W.state_of(s, parent)
    return state and (LETTER_OF[state] or 'l') or 'm'
  end
end

-- How it stands, wherever it is.
local function standing(s, parent, tenant)
  for _, tag in ipairs(call('HKEYS', s.prefix .. ':{_}:queues')) do
    local letter = standing_here(W.beside(s, tag), parent, tenant)
    if letter then
      return letter
    end
  end
  return 'm'
end

-- A child of another shard asks for a parent that may be here: it will be told of its end. Answers how it stands, or nothing when it is not here.
function W.watch(s, m)
  local parent = W.unhex(m.parent)
  local letter = standing_here(s, parent, m.tenant)
  if not letter or letter == 'l' or letter == 'x' then
    call('SADD', children_of(s, parent), concat({ W.unhex(m.child), m.from, '\0', m.tenant or '' }))
    call('EXPIRE', children_of(s, parent), KEPT)
    call('ZADD', s.watched, s.now + KEPT * 1000000, parent)
  end
  return letter
end

-- How a parent that was not asked yet stands: at once where it can be looked at, else nothing until it has answered.
local function ask(s, j, parent)
  if ONE then
    return standing(s, parent, j.h.tenant)
  end
  local m = { what = 'watch', from = s.tag, child = W.hex(j.id), parent = W.hex(parent), tenant = j.h.tenant }
  if call('HEXISTS', s.jobs, parent) == 1 then
    return W.watch(s, m)
  end
  W.send(s, m)
end

-- Drops what is fulfilled, and lets the job go if nothing is open; answers its state. `news`: the parent of which something new was heard; what was
-- heard of the others that failed may have changed since.
function W.look_at_parents(s, j, news)
  local key = parents_of(s, j.id)
  local reason
  local parents = call('HGETALL', key)
  for i = 1, #parents, 2 do
    local parent, letter = parents[i], parents[i + 1]
    local is_doubtful = news and news ~= parent and letter ~= 'l'
    if ONE or letter == '?' or is_doubtful then
      letter = ask(s, j, parent) or letter
    end
    if letter == 'c' then
      call('HDEL', key, parent)
      if ONE then
        call('SREM', children_of(s, parent), j.id .. s.tag)
      end
    else
      call('HSET', key, parent, letter)
      reason = letter == 'x' and 'dependency_dead' or reason or letter == 'm' and 'dependency_missing' or 'dependency'
    end
  end
  if not reason then
    return W.unpark(s, j)
  end
  if j.h.reason ~= reason then
    j.h.reason = reason
    W.write_job(s, j)
  end
  return 'parked'
end

-- The child hears how its parent stands.
function W.hear(s, m)
  local child, parent = W.unhex(m.child), W.unhex(m.parent)
  local j = call('HEXISTS', parents_of(s, child), parent) == 1 and W.read_job(s, child)
  if not j or j.state ~= 'p' then
    return
  end
  local is_news = call('HGET', parents_of(s, child), parent) ~= m.letter
  call('HSET', parents_of(s, child), parent, m.letter)
  if m.letter == 'm' then
    call('ZADD', s.asking, s.now + AGAIN, child)
  end
  W.look_at_parents(s, j, is_news and parent or nil)
end

-- Children that miss a parent ask again.
function W.ask_again(s, due)
  for _, child in ipairs(due) do
    call('ZREM', s.asking, child)
    local key = parents_of(s, child)
    local parents = call('HGETALL', key)
    local misses = false
    for i = 1, #parents, 2 do
      if parents[i + 1] == 'm' then
        call('HSET', key, parents[i], '?')
        misses = true
      end
    end
    local j = misses and W.read_job(s, child)
    if j and j.state == 'p' then
      W.look_at_parents(s, j)
    end
  end
end

-- Whether somebody may wait for a job of this shard.
function W.is_waited_for(s)
  return call('EXISTS', ONE and s.prefix .. ':{_}:waiting' or s.watched) == 1
end

-- A child looks again: on one server at once, in a cluster once it is told.
local function tell(s, parent, row, j, letter)
  local id = sub(row, 1, 16)
  if ONE then
    local other = W.beside(s, sub(row, 17))
    local child = W.read_job(other, id)
    if child and child.state == 'p' then
      W.look_at_parents(other, child)
    end
    return
  end
  -- What is of another tenant is not there for it.
  local tag, tenant = match(sub(row, 17), '^(%Z*)%z(.*)$')
  if not j or (j.h.tenant or '') == tenant then
    W.send(s, { what = 'told', to = tag, child = W.hex(id), parent = W.hex(parent), letter = letter })
  end
end

local function tell_all(s, parent, rows)
  local j, letter
  if not ONE then
    j = W.read_job(s, parent)
    letter = j and (LETTER_OF[W.state_of(s, parent)] or 'l') or 'm'
  end
  for _, row in ipairs(rows) do
    tell(s, parent, row, j, letter)
  end
  if letter == 'c' then
    call('DEL', children_of(s, parent))
    call('ZREM', s.watched, parent)
  end
end

-- A parent ended, or came: its children look again. Where there are many, upkeep tells them, a bounded number a call.
function W.tell_children(s, parent)
  if not ONE and not call('ZSCORE', s.watched, parent) then
    return
  end
  local key = children_of(s, parent)
  if call('SCARD', key) <= BATCH then
    tell_all(s, parent, call('SMEMBERS', key))
  else
    call('SUNIONSTORE', s.base .. ':telling:' .. parent, key)
    call('SADD', s.telling, parent)
    s.work = true
  end
end

-- Tells children of one parent that has many; answers whether there may be more.
function W.tell_more(s)
  local parent = call('SRANDMEMBER', s.telling)
  if not parent then
    return false
  end
  local key = s.base .. ':telling:' .. parent
  tell_all(s, parent, call('SPOP', key, BATCH))
  if call('EXISTS', key) == 0 then
    call('SREM', s.telling, parent)
  end
  return true
end
