-- What producers call, in any language. One call is one queue's, and all or none of it is taken in:
--
--   FCALL windlass_enqueue 1 windlass:{mail} '{"kind":"email.send","payload":{"to":"a@example.com"}}' ...
--   FCALL windlass_enqueue 1 windlass:{mail} WITHSTATUS '{"kind": ...}' ...
--
-- It answers the ids in the order of the envelopes, a duplicate's being that of the job that was there before; WITHSTATUS answers for each
-- its id, its status and whether it is a duplicate. This library belongs to the newest release that has migrated the server.
--
-- Errors begin with a code; where there are several envelopes the pointer begins with the index of the first bad one.
--
--   WINDLASS_TOO_LARGE  _NOT_JSON  _UNKNOWN_MEMBER  _WRONG_TYPE  _BAD_NAME  _OUT_OF_RANGE  _NOT_SUPPORTED
--   WINDLASS_CONFLICT   two members contradict each other, or the id or idempotency key was used with another body
--   WINDLASS_DUPLICATE  the unique key is held, and `on_duplicate` is `reject`
--   WINDLASS_MOVING     in a cluster, while the slot of the queue moves to another server: try again
--   WINDLASS_PARTITION  the queue has partitions, and the job belongs to the one whose number follows: call with its key, windlass:{mail:3}

local ENVELOPES, ENVELOPE_BYTES, CALL_BYTES = 1000, 1048576, 4194304
local WORDS_OF = { q = 'queued', s = 'scheduled', p = 'parked', r = 'running', c = 'completed', x = 'cancelled', d = 'dead' }

local function refusal(code, message)
  -- Redis ends an error at the first line's end.
  return redis.error_reply('WINDLASS_' .. string.upper(code) .. ' ' .. string.gsub(message, '[\r\n]', ' '))
end

-- What is wrong with the call as a whole.
local function fault_of(keys, texts)
  local bytes = 0
  for _, text in ipairs(texts) do
    bytes = bytes + #text
  end
  local queue = #keys == 1 and match(keys[1], '^[^{]+:{([^{}]*)}$')
  if not queue or not W.is_name(queue) then
    return 'wrong_type', 'name one key, the prefix and the queue in braces, such as windlass:{mail}'
  elseif #texts == 0 then
    return 'wrong_type', 'send one envelope or several behind the key, such as {"kind":"email.send","payload":{}}'
  elseif #texts > ENVELOPES then
    return 'too_large', string.format('%d envelopes, and a call takes %d; send them in several calls', #texts, ENVELOPES)
  elseif bytes > CALL_BYTES then
    return 'too_large', string.format('%d bytes, and a call takes %d; send them in several calls', bytes, CALL_BYTES)
  end
end

-- Most envelopes say the same as the one before, but for their payload: that is remembered for each queue while it is short.
local likes, LIKE_BYTES = {}, 4096

-- The payload of `text` if that is as `like` in all else.
local function payload_alike(like, text)
  local from, stop = #like.before + 1, #text - #like.behind + 1
  if sub(text, 1, from - 1) == like.before and sub(text, stop) == like.behind then
    local payload = sub(text, from, stop - 1)
    return W.is_one_value(payload) and payload or nil
  end
end

local function remember(s, text, e, n)
  local before, behind = sub(text, 1, e.payload_from - 1), sub(text, e.payload_stop)
  if W.plain(s, n) and #before + #behind <= LIKE_BYTES then
    likes[s.tag] = { n = n, before = before, behind = behind }
  end
end

-- Behind the others of its sort.
local function add(groups, s, n, id, payload)
  local group = groups[#groups]
  if not group or group.n ~= n then
    group = { shard = s, n = n, ids = {}, payloads = {} }
    groups[#groups + 1] = group
  end
  local i = #group.ids + 1
  group.ids[i], group.payloads[i] = id, payload
end

-- Reads and checks all of them: the jobs, their ids, and what is wrong with which.
local function read_all(s, texts)
  local most = min(s:payload_bytes(), ENVELOPE_BYTES)
  local groups, ids, faults = {}, {}, {}
  for i, text in ipairs(texts) do
    local like = likes[s.tag]
    local payload = like and #text <= ENVELOPE_BYTES and payload_alike(like, text)
    if payload and #payload <= most then
      ids[i] = W.mint(s)
      add(groups, s, like.n, ids[i], payload)
    else
      local ok, e, n = pcall(W.read_envelope, s, text, most, ENVELOPE_BYTES)
      if ok then
        ids[i] = e.id or W.mint(s)
        add(groups, s, n, ids[i], e.payload)
        remember(s, text, e, n)
      elseif type(e) == 'table' then
        e.pointer = #texts > 1 and '/' .. i - 1 .. e.pointer or e.pointer
        e.index = i - 1
        faults[#faults + 1] = e
      else
        error(e, 0)
      end
    end
  end
  return groups, ids, faults
end

local function tell(faults)
  local first = faults[1]
  local story = first.pointer .. ': ' .. first.message
  if #faults > 1 then
    local indexes = {}
    for i, wrong in ipairs(faults) do
      indexes[i] = wrong.index
    end
    story = string.format('%d items are invalid; nothing was written; the first is %s (all: %s)', #faults, story, concat(indexes, ', '))
  end
  return refusal(first.code, story)
end

local function enqueue(keys, args)
  local with_status = args[1] == 'WITHSTATUS'
  if with_status then
    table.remove(args, 1)
  end
  local code, message = fault_of(keys, args)
  if code then
    return refusal(code, message)
  end
  local moving = W.is_moving(keys)
  if moving then
    return moving
  end
  local s = W.begin(keys, W.clock(''))
  local groups, ids, faults = read_all(s, args)
  if #faults > 0 then
    return tell(faults)
  end
  local misplaced = W.misplaced(groups)
  if misplaced then
    return misplaced
  end
  local may_be_refused = W.may_be_refused(groups)
  local refused = may_be_refused and W.refusal(groups)
  if refused then
    local at = #args > 1 and '/' .. refused.index .. ': ' or ''
    return refusal(refused.code, at .. (refused.code == 'DUPLICATE' and 'the unique key is held by job ' .. W.uuid(refused.id)
      or 'job ' .. W.uuid(refused.id) .. ' exists with another body; use a fresh id or idempotency key'))
  end
  local answers = {}
  W.take_in(groups, answers, not may_be_refused)
  for i, answer in ipairs(answers) do
    local is_duplicate = byte(answer, 1) == 49
    local id = W.uuid(is_duplicate and sub(answer, 3) or ids[i])
    answers[i] = with_status and { id, WORDS_OF[sub(answer, 2, 2)], is_duplicate and 1 or 0 } or id
  end
  return answers
end

return { call = function(_, keys, args)
  -- Redis takes nothing back of a call that fails half way: what it has moved is counted all the same.
  local ok, reply = pcall(enqueue, keys, args)
  W.finish()
  if not ok then
    error(reply, 0)
  end
  return reply
end }
end

local functions

redis.register_function({ function_name = 'windlass_enqueue', callback = function(keys, args)
  functions = functions or library()
  return functions.call(nil, keys, args)
end })
