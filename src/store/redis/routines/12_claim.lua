-- Claims: what one lease call granted of a shard. The end of a plain job reads its claim and nothing else.
--
--   <base>:claims         hash     epoch -> holder, nonce, granted_at, until, how many are left; then a byte for each place: its flags,
--                                  or OVER once its lease has ended
--   <base>:claim:<epoch>  string   the ids; if any has a lane, behind them of each place its lane's number, or 0, and the lanes, as a list
--
-- A place is counted from 0. Nothing is looked for: a lease says its epoch and its place.

local OVER = 255
local HEAD, ID = 50, 16
-- How many are left is written in two bytes.
W.claim_takes = 65535

local Claim = {}
Claim.__index = Claim

local function key_of(s, epoch)
  return s.base .. ':claim:' .. epoch
end

local function head_of(holder, nonce, granted_at, till, left)
  return concat({ holder, nonce, pack8(granted_at), pack8(till), pack('>I2', left) })
end

-- A new claim of a holder on jobs in the order of their places: ids, flags and lanes.
function W.put_claim(s, epoch, c, ids, flags, lanes)
  local numbers, names, of = { [''] = '\0\0' }, {}, {}
  for i = 1, #lanes do
    local lane = lanes[i]
    if not numbers[lane] then
      names[#names + 1] = lane
      numbers[lane] = pack('>I2', #names)
    end
    of[i] = numbers[lane]
  end
  call('SET', key_of(s, epoch), concat(ids) .. (#names > 0 and concat(of) .. cmsgpack.pack(names) or ''))
  call('HSET', s.claims, epoch, head_of(c.holder, c.nonce, s.now, s.now + c.lease, #ids) .. concat(flags))
end

-- The claim of this epoch, while anything of it is left. `row`, where it was read already.
function W.claim(s, epoch, row)
  row = row or call('HGET', s.claims, epoch)
  return row and setmetatable({ shard = s, epoch = epoch, row = row, places = #row - HEAD }, Claim)
end

function W.claims(s)
  local claims, rows = {}, call('HGETALL', s.claims)
  for i = 1, #rows, 2 do
    claims[#claims + 1] = W.claim(s, rows[i], rows[i + 1])
  end
  return claims
end

function Claim.holder(c)
  return sub(c.row, 1, 16)
end

function Claim.nonce(c)
  return sub(c.row, 17, 32)
end

function Claim.granted_at(c)
  return unpack8(c.row, 33)
end

function Claim.till(c)
  return unpack8(c.row, 41)
end

function Claim.left(c)
  return (unpack_('>I2', c.row, 49))
end

-- The flags of a place, or nothing when its lease has ended.
function Claim.flags(c, place)
  local flags = byte(c.row, HEAD + 1 + place)
  if flags ~= OVER then
    return flags
  end
end

local function entries_of(c)
  c.entries = c.entries or call('GET', key_of(c.shard, c.epoch)) or ''
  return c.entries
end

function Claim.id(c, place)
  local at = ID * place
  return sub(c.entries or entries_of(c), at + 1, at + ID)
end

-- The line that it came from, or nothing.
function Claim.lane(c, place)
  local entries, ids = entries_of(c), ID * c.places
  if #entries == ids then
    return ''
  end
  c.lanes = c.lanes or cmsgpack.unpack(sub(entries, ids + 2 * c.places + 1))
  return c.lanes[unpack_('>I2', entries, ids + 2 * place + 1)] or ''
end

-- Whether this job is leased at this place.
function Claim.holds(c, place, id)
  return place and c:flags(place) and c:id(place) == id
end

-- Calls `each` with every place that is leased and its id, until it answers false.
function Claim.each(c, each)
  for place = 0, c.places - 1 do
    if c:flags(place) and each(place, c:id(place)) == false then
      return
    end
  end
end

-- These leases have ended; the last one takes the claim with it. Each is named once.
function Claim.drop(c, places)
  local left = c:left() - #places
  if left <= 0 then
    call('HDEL', c.shard.claims, c.epoch)
    call('DEL', key_of(c.shard, c.epoch))
  elseif #places > 0 then
    local is_over, parts = {}, { head_of(c:holder(), c:nonce(), c:granted_at(), c:till(), left) }
    for _, place in ipairs(places) do
      is_over[place] = true
    end
    for from = 0, c.places - 1, CHUNK do
      local flags = { byte(c.row, HEAD + 1 + from, HEAD + min(from + CHUNK, c.places)) }
      for i = 1, #flags do
        flags[i] = is_over[from + i - 1] and OVER or flags[i]
      end
      parts[#parts + 1] = char(unpack(flags))
    end
    c.row = concat(parts)
    call('HSET', c.shard.claims, c.epoch, c.row)
  end
end
