-- Give a lease back untouched, for anyone; or for a task to claim the account by name, and for anyone after a while.
-- ARGV: P, sub, token, '' or how many ms that is.
local sub = ARGV[2]
if redis.call('HGET', LEASES, sub) ~= ARGV[3] then return end
-- It does not count as a claim that no look ended.
if redis.call('HINCRBY', CLAIMS, sub, -1) <= 0 then redis.call('HDEL', CLAIMS, sub) end
if ARGV[4] == '' then return end_lease(sub, now_ms()) end
redis.call('HDEL', LEASES, sub)
redis.call('ZADD', LEASED, now_ms() + ARGV[4], sub)
