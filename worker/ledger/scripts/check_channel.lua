-- Have an account's notification channel checked next. ARGV: P, sub
-- Does nothing for an unknown account: it may have been forgotten meanwhile.
local sub, key, now = ARGV[2], account_key(ARGV[2]), now_ms()
if redis.call('HEXISTS', key, 'credentials') == 0 then return 0 end
redis.call('HSET', key, 'channel_due', now)
place_unless_leased(sub, now)
return 1
