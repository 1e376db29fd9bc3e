-- Enter an account that an older version wrote into what it is found by. ARGV: P, sub, the keyed hash of its email or ''
local sub, now = ARGV[2], now_ms()
if redis.call('EXISTS', account_key(sub), events_key(sub), settled_key(sub)) == 0 then return 0 end
redis.call('ZADD', ACCOUNTS, 0, sub)
if is_lost(sub) then redis.call('ZADD', LOST, 'NX', now, sub) end
if ARGV[3] ~= '' and redis.call('HSETNX', account_key(sub), 'address', ARGV[3]) == 1 then
  redis.call('ZADD', EMAILS, 0, ARGV[3] .. sub)
end
for _, field in ipairs(redis.call('HKEYS', events_key(sub))) do note_id(sub, field, FAR) end
local settled = redis.call('HGETALL', settled_key(sub))
for i = 1, #settled, 2 do note_id(sub, settled[i], (header(settled[i + 1]))) end
return 1
