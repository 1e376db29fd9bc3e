-- Settle what is to be told about an incident, unless it changed since it was read.
-- ARGV: P, id, 'tell', 'close' or 'later', how many events ever joined it as it was read, ms until it is seen to again,
-- mail id or '', encrypted message, accounts that the mail names (packed), outcome or '', keep, ms to keep it
-- Returns 1 if done.
local id, verb, key, now = ARGV[2], ARGV[3], incident_key(ARGV[2]), now_ms()
local group, total, told, closed = unpack(redis.call('HMGET', key, 'group', 'total', 'told', 'closed'))
if not group or closed then
  redis.call('ZREM', INCIDENTS, id)
  return 0
end
-- Something joined: it is seen to at once.
if total ~= ARGV[4] then return 0 end
if verb == 'tell' and told then return 0 end
if verb == 'close' and redis.call('EXISTS', list_key('incident:' .. id)) == 1 then return 0 end
if verb == 'tell' then redis.call('HSET', key, 'told', now) end
if verb == 'close' then
  redis.call('HSET', key, 'closed', now)
  redis.call('PEXPIRE', key, ARGV[11])
  redis.call('ZREM', INCIDENTS, id)
  if redis.call('HGET', GROUPS, group) == id then redis.call('HDEL', GROUPS, group) end
else
  redis.call('ZADD', INCIDENTS, 'XX', now + ARGV[5], id)
end
if ARGV[6] ~= '' then
  redis.call('HSET', key, 'mailed', 1)
  queue_mail(ARGV[6], now, ARGV[7], '', 'incident', 'incident', id, 'subs', ARGV[8])
end
if ARGV[9] ~= '' then
  add_outcomes({ ARGV[9] }, ARGV[10])
  count('outcome:incident_' .. (verb == 'tell' and 'opened' or 'closed'), 1)
end
return 1
