-- Take the mail that has been due longest; unless finished, it is due again after the lease.
-- Takes none while an operator has paused the fleet.
-- ARGV: P, lease in ms. Returns {} or { id, message, sub, attempts, parts or false }
if redis.call('EXISTS', P .. ':paused') == 1 then return {} end
local outbox, now = P .. ':outbox', now_ms()
local id = redis.call('ZRANGEBYSCORE', outbox, '-inf', now, 'LIMIT', 0, 1)[1]
if not id then return {} end
local mail = P .. ':mail:' .. id
redis.call('ZADD', outbox, now + ARGV[2], id)
local attempts = redis.call('HINCRBY', mail, 'attempts', 1)
local message, sub, parts = unpack(redis.call('HMGET', mail, 'message', 'sub', 'parts'))
return { id, message, sub, attempts, parts }
