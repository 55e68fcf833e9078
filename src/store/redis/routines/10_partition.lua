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

-- What came to the wrong partition: which it should have been, and the place of the first in the call.
function W.misplaced(groups)
  local index = 0
  for _, group in ipairs(groups) do
    local right = right_place(group.shard, group.n)
    if right then
      return right, index
    end
    index = index + #group.ids
  end
end
