-- Takes entries off the inbox, oldest first: each gets an id and stands among those that move, in one step.
--
--   KEYS  the inbox, what was last taken off it by a call that waited, those that move, what was quarantined
--   ARGV  bytes of all entries together and of one, then an id for each
local waiting, next_, moving, quarantined = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local left, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local taken = {}
for i = 3, #ARGV do
  local entry = left > 0 and (redis.call('RPOP', next_) or redis.call('RPOP', waiting))
  if not entry then
    break
  end
  left = left - #entry
  if #entry > most then
    redis.call('XADD', quarantined, '*', 'code', 'too_large', 'reason', 'is ' .. #entry .. ' bytes; store the data elsewhere and send a reference', 'entry', entry)
  else
    redis.call('HSET', moving, ARGV[i], entry)
    taken[#taken + 1] = ARGV[i]
    taken[#taken + 1] = entry
  end
end
return taken
