-- Take a notification about a whole account.
-- ARGV: P, sub, id of the channel it came over or '', '1' to make its pending events due now, '1' to have UserInfo asked
-- Returns how many became due, UserInfo included.
local sub, now, key = ARGV[2], now_ms(), account_key(ARGV[2])
local channel = redis.call('HGET', key, 'channel')
if channel and ARGV[3] ~= '' and cmsgpack.unpack(channel)[1] == ARGV[3] then
  redis.call('HSET', key, 'channel_seen', now)
end
if ARGV[4] ~= '1' then return 0 end
local made = make_all_due(sub, now)
if ARGV[5] == '1' and redis.call('HEXISTS', key, 'credentials') == 1 then
  redis.call('HSET', key, 'profiles_due', now)
  made = made + 1
end
if made > 0 then
  redis.call('HSET', key, 'news', now)
  place_unless_leased(sub, now)
end
return made
