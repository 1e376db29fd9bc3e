-- Move what is due from waiting to ready, and give back what expired leases held.
-- ARGV: P, how many of each at most, data centres
-- Returns: moved, expired, how many accounts of each data centre are ready
local now, most = now_ms(), ARGV[2]
local expired = redis.call('ZRANGEBYSCORE', LEASED, '-inf', now, 'LIMIT', 0, most)
for _, sub in ipairs(expired) do end_lease(sub, now) end
local due = redis.call('ZRANGEBYSCORE', WAITING, '-inf', now, 'LIMIT', 0, most)
for _, sub in ipairs(due) do place(sub, now) end
-- A meeting that has started is no longer its account's soonest start to come.
for _, sub in ipairs(redis.call('ZRANGEBYSCORE', STARTS, '-inf', now, 'LIMIT', 0, most)) do reindex(sub, now) end
redis.call('SET', P .. ':swept', now)
sample(now)
local ready = {}
for n = 3, #ARGV do ready[n - 2] = redis.call('ZCARD', ready_key(ARGV[n])) end
return { #due, #expired, ready }
