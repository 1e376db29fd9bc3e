-- Make a parked event due again with a new record, if it has not changed since it was read.
-- ARGV: P, sub, field, SHA-1 of the record, new value, the lists that it is in (packed). Returns 1 if done.
local sub, field = ARGV[2], ARGV[3]
local present = redis.call('HGET', events_key(sub), field)
if not present or redis.sha1hex(string.sub(present, HEADER + 1)) ~= ARGV[4] then return 0 end
put_event(sub, field, ARGV[5], cmsgpack.unpack(ARGV[6]), present)
place_unless_leased(sub, now_ms())
return 1
