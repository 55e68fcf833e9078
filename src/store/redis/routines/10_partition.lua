-- A queue of several partitions is several shards, whose tags are its name and their numbers: `mail:0`, `mail:1` … What has a key goes where
-- the key says, so that order, uniqueness and the limits of a key hold; anything else goes anywhere.

-- CRC16 as Redis Cluster has it (XMODEM: polynomial 0x1021, from 0).
local CRC = {}
for n = 0, 255 do
  local crc = n * 256
  for _ = 1, 8 do
    crc = crc >= 32768 and bit.bxor(crc * 2 % 65536, 0x1021) or crc * 2
  end
  CRC[n] = crc
end

local function crc16(text)
  local crc = 0
  for i = 1, #text do
    crc = bit.bxor(crc * 256 % 65536, CRC[bit.bxor(floor(crc / 256), byte(text, i))])
  end
  return crc
end

-- What decides where a job goes, if anything does.
local function key_of(n)
  return n.key or n.unique and n.unique.key or n.idempotency_key
end

-- The shard of a queue for the job `n` of this id.
function W.tag_of(s, queue, n, id)
  local partitions = W.partitions_of(s, queue)
  return partitions and queue .. ':' .. crc16(key_of(n) or id) % partitions or queue
end

-- The partition that a job should have come to, if it is not this one.
local function right_place(s, n)
  local place, key = s:place(), key_of(n)
  if not place.partitions then
    return nil
  end
  local is_one = place.partition and place.partition < place.partitions
  local right = key and crc16(key) % place.partitions or is_one and place.partition or s.now % place.partitions
  return right ~= place.partition and right or nil
end

-- While the number of partitions changes, nothing comes in that has a key.
function W.hold_keys(s, ms)
  if ms > 0 then
    call('SET', s.held, 1, 'PX', ms)
  else
    call('DEL', s.held)
  end
end

local HELD = 'WINDLASS_MOVING the partitions of this queue change; try again'

-- What to say to those that are held off, if any of these jobs is.
function W.held_off(s, n)
  return not ONE and key_of(n) and call('EXISTS', s.held) == 1 and redis.error_reply(HELD) or nil
end

-- The first job or what else of the shard has a key that is still worth something, from behind the id `from` on, of at most `limit` jobs; and
-- where to go on.
function W.keyed(s, from, limit)
  if from == '' and call('EXISTS', s.uniques) == 1 then
    return { 'a unique key', '' }
  elseif from == '' and call('ZCOUNT', s.forget, s.now, '+inf') > 0 then
    return { 'an idempotency key', '' }
  end
  local ids = call('ZRANGE', s.ids, from == '' and '-' or '(' .. from, '+', 'BYLEX', 'LIMIT', 0, limit)
  local blobs = #ids > 0 and W.fields(s.jobs, ids) or {}
  for i, id in ipairs(ids) do
    -- Flagged are those with keys, and some others.
    if blobs[i] and byte(blobs[i], 1) ~= 0 then
      local ok, j = pcall(W.decode, id, blobs[i])
      local ended = call('HGET', s.ends, id)
      if ok and (j.h.key or j.h.unique) and (not ended or sub(ended, 1, 1) == 'd') then
        return { id, '' }
      end
    end
  end
  return { '', #ids == limit and ids[limit] or '' }
end

-- Where a job that was sent here belongs now, if that is elsewhere.
function W.moved(s, n, id)
  if right_place(s, n) then
    return W.tag_of(s, s:place().queue, n, id)
  end
end

-- Who asks again for a job by its id gets it where it is, which may be where it would not go now.
local function is_here(s, ids)
  return #ids == 1 and call('HEXISTS', s.jobs, ids[1]) == 1
end

-- What to say where the jobs cannot come in here: they are held off, or belong to another partition, of which the first is told.
function W.misplaced(groups)
  local index, wrong = 0, nil
  for _, group in ipairs(groups) do
    local s = group.shard
    local held = W.held_off(s, group.n)
    if held then
      return held
    end
    local right = not wrong and right_place(s, group.n)
    if right and not is_here(s, group.ids) then
      wrong = { index = index, s = s, right = right }
    end
    index = index + #group.ids
  end
  if wrong then
    local s, place = wrong.s, wrong.s:place()
    return redis.error_reply(string.format('WINDLASS_PARTITION %d %sbelongs to that partition of %d: call with the key %s:{%s:%d}', wrong.right,
      index > 1 and '/' .. wrong.index .. ': ' or '', place.partitions, s.prefix, place.queue, wrong.right))
  end
end
