-- Take a notification about a whole account.
-- ARGV: P, sub, id of the channel it came over or '', '1' to make its pending events due now, '1' to have UserInfo asked
-- Returns how many became due, UserInfo included.
local sub, now, key = ARGV[2], now_ms(), account_key(ARGV[2])
local channel = redis.call('HGET', key, 'channel')
if channel and ARGV[3] ~= '' and cmsgpack.unpack(channel)[1] == ARGV[3] then
  redis.call('HSET', key, 'channel_seen', now)
end
if ARGV[4] ~= '1' then return 0 end
local events, made = redis.call('HGETALL', events_key(sub)), 0
if ARGV[5] == '1' and redis.call('HEXISTS', key, 'credentials') == 1 then
  redis.call('HSET', key, 'profiles_due', now)
  made = 1
end
for i = 1, #events, 2 do
  -- A parked event fails whatever a notification says: it waits for a person.
  if not is_parked(events[i + 1]) then
    redis.call('HSET', events_key(sub), events[i], due_at(events[i + 1], now))
    made = made + 1
  end
end
if made > 0 then
  redis.call('HSET', key, 'news', now)
  place_unless_leased(sub, now)
end
return made
