-- Keep what is known of an account's notification channel, and end the lease.
-- ARGV: P, sub, token, channel_due as it was claimed ('' for none), packed channel or '', when it is next to be looked
-- after for its own sake, in ms from now ('' for never: with the events only)
-- Returns 1, or 0 with nothing written if the lease is no longer held.
local sub, now = ARGV[2], now_ms()
if redis.call('HGET', LEASES, sub) ~= ARGV[3] then return 0 end
local key = account_key(sub)
if ARGV[5] ~= '' then redis.call('HSET', key, 'channel', ARGV[5], 'channel_seen', now) end
-- Where the account was connected anew meanwhile, its channel is looked after once more.
if (redis.call('HGET', key, 'channel_due') or '') == ARGV[4] then
  if ARGV[6] == '' then
    redis.call('HDEL', key, 'channel_due')
  else
    redis.call('HSET', key, 'channel_due', now + ARGV[6])
  end
end
redis.call('HDEL', CLAIMS, sub)
end_lease(sub, now)
return 1
