-- Take up a closed event again, due at once, if its record has not changed since it was read.
-- ARGV: P, sub, field, SHA-1 of the record, new value, the lists that it is in (packed). Returns 1 if done.
local sub, field = ARGV[2], ARGV[3]
local closed = redis.call('HGET', settled_key(sub), field)
if not closed or redis.sha1hex(string.sub(closed, HEADER + 1)) ~= ARGV[4] then return 0 end
redis.call('HDEL', settled_key(sub), field)
redis.call('ZREM', past_key(sub), field)
put_event(sub, field, ARGV[5], cmsgpack.unpack(ARGV[6]))
place_unless_leased(sub, now_ms())
return 1
