-- Store what a token refresh returned, unless the account was connected again meanwhile.
-- ARGV: P, sub, SHA-1 of the credentials that were used, new credentials. Returns 1 if stored.
local key = account_key(ARGV[2])
local present = redis.call('HGET', key, 'credentials')
-- Already stored: the answer was lost, and the client sent the command again.
if present == ARGV[4] then return 1 end
if not present or redis.sha1hex(present) ~= ARGV[3] then return 0 end
redis.call('HSET', key, 'credentials', ARGV[4])
return 1
