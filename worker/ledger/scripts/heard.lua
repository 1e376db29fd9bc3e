-- A notification came that speaks of an account as a whole.
-- ARGV: P, sub, id of the channel that it came over or '', '1' if its pending events are to be due now
-- Returns how many became due.
local sub, now, key = ARGV[2], now_ms(), account_key(ARGV[2])
local channel = redis.call('HGET', key, 'channel')
if channel and ARGV[3] ~= '' and cmsgpack.unpack(channel)[1] == ARGV[3] then
  redis.call('HSET', key, 'channel_seen', now)
end
if ARGV[4] ~= '1' then return 0 end
local events = redis.call('HGETALL', events_key(sub))
for i = 1, #events, 2 do redis.call('HSET', events_key(sub), events[i], due_at(events[i + 1], now)) end
if #events > 0 then place_unless_leased(sub, now) end
return #events / 2
