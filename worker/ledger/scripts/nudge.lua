-- Make an event due now, with a new record if one is given (a notification's hint).
-- ARGV: P, sub, field, expected SHA-1 of the present value, new value or ''
-- Returns 1 if done, 0 if the event is not pending, -1 if it changed meanwhile.
local sub, field = ARGV[2], ARGV[3]
local value = redis.call('HGET', events_key(sub), field)
if not value then return 0 end
if ARGV[4] ~= '' and redis.sha1hex(value) ~= ARGV[4] then return -1 end
if ARGV[5] ~= '' then value = ARGV[5] end
local now = now_ms()
put_event(sub, field, due_at(value, now))
place_unless_leased(sub, now)
return 1
