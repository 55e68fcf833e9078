-- What the end of a job writes beside it, of all queues together.
--
--   <prefix>:{_}:records   hash   tenant, collection and key -> time of the event, time of the write, job, value
--   <prefix>:{_}:sends     hash   tenant, channel and key -> job, the provider's id
--   <prefix>:{_}:cache     hash   tenant and key -> until, value;  :cached zset

local function put_record(common, m)
  local name = concat({ m.tenant, '\0', m.collection, '\0', m.key })
  local old = call('HGET', common .. ':records', name)
  local old_event, old_at = 0, 0
  if old then
    old_event, old_at = unpack8(old, 1), unpack8(old, 9)
  end
  -- An older event never overwrites a newer one; nor does the same write that comes again, later.
  if (m.event_time and (old_event == 0 or m.event_time >= old_event)) or (not m.event_time and m.at >= old_at) then
    call('HSET', common .. ':records', name, concat({ pack8(m.event_time or 0), pack8(m.at), W.unhex(m.job), m.value }))
  end
end

function W.write_effect(s, m)
  local common = s.prefix .. ':{_}'
  if m.put == 'record' then
    put_record(common, m)
  elseif m.put == 'send' then
    call('HSET', common .. ':sends', concat({ m.tenant, '\0', m.channel, '\0', m.key }), W.unhex(m.job) .. (m.provider_id or ''))
  else
    local name = m.tenant .. '\0' .. m.key
    local till = W.plus_ms(m.at, m.ttl_ms)
    call('HSET', common .. ':cache', name, pack8(till) .. m.value)
    call('ZADD', common .. ':cached', till, name)
  end
end
