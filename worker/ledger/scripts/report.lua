-- Put the report on the last month into the outbox, once. ARGV: P, this month, mail id, encrypted message or '' if there is
-- nothing to report yet. Returns 1 if it was put there.
local key, mail = P .. ':reported', ARGV[3]
if redis.call('GET', key) == ARGV[2] then return 0 end
redis.call('SET', key, ARGV[2])
if ARGV[4] == '' then return 0 end
redis.call('HSET', P .. ':mail:' .. mail, 'message', ARGV[4], 'sub', '', 'attempts', 0, 'kind', 'report')
redis.call('ZADD', P .. ':outbox', now_ms(), mail)
return 1
