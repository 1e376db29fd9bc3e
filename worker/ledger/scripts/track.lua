-- Start watching an event, or replace its record. ARGV: P, sub, field, value
local sub, field, value = ARGV[2], ARGV[3], ARGV[4]
put_event(sub, field, value)
redis.call('HDEL', hints_key(sub), field)
redis.call('HDEL', settled_key(sub), field)
-- An added event can only bring the next look forward, so a bulk import need not weigh them all.
if not is_lost(sub) and not redis.call('ZSCORE', LEASED, sub) and not redis.call('ZSCORE', ready_key(center_of(sub)), sub) then
  redis.call('ZADD', WAITING, 'LT', (header(value)), sub)
end
return 1
