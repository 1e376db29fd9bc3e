-- Keep what a token refresh returned, unless the account was connected anew meanwhile.
-- ARGV: P, sub, SHA-1 of the credentials that were used, new credentials. Returns 1 if kept.
local key = account_key(ARGV[2])
local present = redis.call('HGET', key, 'credentials')
if not present or redis.sha1hex(present) ~= ARGV[3] then return 0 end
redis.call('HSET', key, 'credentials', ARGV[4])
return 1
