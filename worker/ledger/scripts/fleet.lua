-- Note whether something keeps the whole fleet from its work: then that is an incident.
-- ARGV: P, what (KIND@CENTER), '1' if it does.
local group, now, outages = ARGV[2], now_ms(), P .. ':outages'
local known = redis.call('HEXISTS', outages, group) == 1
if (ARGV[3] == '1') == known then return end
if not known then
  redis.call('HSET', outages, group, now)
  join_incident(group, 'new')
else
  redis.call('HDEL', outages, group)
  local id = redis.call('HGET', GROUPS, group)
  if id then leave_incident(id, false) end
end
