-- Give a lease back untouched, for a task to claim the account by name. Until then, or for `wait`, no batch takes it.
-- ARGV: P, sub, token, wait in ms. Returns 1 if it was still held.
local sub = ARGV[2]
if redis.call('HGET', LEASES, sub) ~= ARGV[3] then return 0 end
uncount_claim(sub)
redis.call('HDEL', LEASES, sub)
redis.call('ZADD', LEASED, now_ms() + ARGV[4], sub)
return 1
