-- Start watching an event, or replace its record. ARGV: P, sub, field, value, the lists that it is in
-- (packed)
local sub, field, value = ARGV[2], ARGV[3], ARGV[4]
local replaced = put_event(sub, field, value, cmsgpack.unpack(ARGV[5]))
local next_look, start, tracked = header(value)
redis.call('HDEL', notices_key(sub), field)
redis.call('HDEL', settled_key(sub), field)
redis.call('ZREM', past_key(sub), field)
-- A new event can only bring the next look, the soonest start and the oldest event forward, so a bulk import need not
-- reindex the whole account.
if replaced then
  reindex(sub, now_ms())
else
  if start > now_ms() and start < FAR then redis.call('ZADD', STARTS, 'LT', start, sub) end
  redis.call('ZADD', OLDEST, 'LT', tracked, sub)
end
if not is_lost(sub) and not redis.call('ZSCORE', LEASED, sub) and not redis.call('ZSCORE', ready_key(center_of(sub)), sub) then
  redis.call('ZADD', WAITING, 'LT', next_look, sub)
end
return 1
