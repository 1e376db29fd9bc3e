-- Note something about an incident that is known, once. ARGV: P, id, field, value. Returns 1 if done.
local key = incident_key(ARGV[2])
if redis.call('HEXISTS', key, 'group') == 0 then return 0 end
return redis.call('HSETNX', key, ARGV[3], ARGV[4])
