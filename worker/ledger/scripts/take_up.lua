-- Make a parked or closed event due again with a new record, if it has not changed since it was read.
-- ARGV: P, sub, field, SHA-1 of the record, new value, the lists that it is in (packed). Returns 1 if done.
local sub, field = ARGV[2], ARGV[3]
local pending = redis.call('HGET', events_key(sub), field)
if not is_still(pending or redis.call('HGET', settled_key(sub), field), ARGV[4]) then return 0 end
redis.call('HDEL', settled_key(sub), field)
redis.call('ZREM', past_key(sub), field)
put_event(sub, field, ARGV[5], cmsgpack.unpack(ARGV[6]), pending)
place_unless_leased(sub, now_ms())
return 1
