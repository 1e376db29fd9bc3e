-- Record what was found about an account's notification channel, and end the lease.
-- ARGV: P, sub, token, channel_due when claimed ('' for none), packed channel or '', ms until the channel must be
-- checked even without the events ('' for never)
-- Returns 1, or 0 with nothing written if the lease is no longer held.
local sub, now = ARGV[2], now_ms()
if redis.call('HGET', LEASES, sub) ~= ARGV[3] then return 0 end
if ARGV[5] ~= '' then redis.call('HSET', account_key(sub), 'channel', ARGV[5], 'channel_seen', now) end
-- If the account was connected again meanwhile, leave channel_due, so that the channel is checked once more.
put_off(sub, 'channel_due', ARGV[4], ARGV[6] ~= '' and now + ARGV[6] or '')
redis.call('HDEL', CLAIMS, sub)
end_lease(sub, now)
return 1
