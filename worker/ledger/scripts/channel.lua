-- Record what was found about an account's notification channel, and end the lease.
-- ARGV: P, sub, token, channel_due when claimed ('' for none), packed channel or '', ms until the channel must be
-- checked even without the events ('' for never)
-- Returns 1, or 0 with nothing written if the lease is no longer held.
local sub, now = ARGV[2], now_ms()
if redis.call('HGET', LEASES, sub) ~= ARGV[3] then return 0 end
local key = account_key(sub)
if ARGV[5] ~= '' then redis.call('HSET', key, 'channel', ARGV[5], 'channel_seen', now) end
-- If the account was connected again meanwhile, leave channel_due, so that the channel is checked once more.
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
