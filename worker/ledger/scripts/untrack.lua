-- Stop watching an event. ARGV: P, sub, field. Returns 1 if it was known.
local sub, field = ARGV[2], ARGV[3]
local known = put_event(sub, field, nil) and 1 or 0
known = math.max(known, redis.call('HDEL', settled_key(sub), field))
redis.call('ZREM', past_key(sub), field)
leave_calendars(sub)
place_unless_leased(sub, now_ms())
return known
