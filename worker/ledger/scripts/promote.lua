-- Move what is due from waiting to ready, and return what expired leases held.
-- ARGV: P, at most so many of each. Returns: now, moved, expired, how many are ready
local now, most = now_ms(), ARGV[2]
local expired = redis.call('ZRANGEBYSCORE', LEASED, '-inf', now, 'LIMIT', 0, most)
for _, sub in ipairs(expired) do end_lease(sub, now) end
local due = redis.call('ZRANGEBYSCORE', WAITING, '-inf', now, 'LIMIT', 0, most)
for _, sub in ipairs(due) do place(sub, now) end
return { now, #due, #expired, redis.call('ZCARD', READY) }
