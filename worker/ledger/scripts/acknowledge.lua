-- Acknowledge a pending event, or withdraw that, if its record has not changed since it was read.
-- ARGV: P, sub, field, SHA-1 of the record, packed acknowledgement or '' to withdraw it, when it ends in ms or '', the
-- lists that the event is in (packed), outcome, keep, the record with the acknowledgement that is over or ''.
-- Returns 1 if done.
local sub, field, now = ARGV[2], ARGV[3], now_ms()
local present = redis.call('HGET', events_key(sub), field)
if not present then return 0 end
local key = acknowledged_key(sub)
-- Already so: the answer was lost, and the client sent the command again.
if (redis.call('HGET', key, field) or '') == ARGV[5] then return 1 end
if not is_still(present, ARGV[4]) then return 0 end
if ARGV[5] ~= '' then redis.call('HSET', key, field, ARGV[5]) else redis.call('HDEL', key, field) end
local next_look, start = header(present)
if ARGV[10] ~= '' then
  present = due_at(ARGV[10], next_look)
  redis.call('HSET', events_key(sub), field, present)
end
put_in_lists(sub, field, cmsgpack.unpack(ARGV[7]), start)
-- A look ends it in time.
local ends = tonumber(ARGV[6])
if ends and ends < next_look and not is_parked(present) then
  redis.call('HSET', events_key(sub), field, due_at(present, ends))
  place_unless_leased(sub, now)
end
add_outcomes({ ARGV[8] }, ARGV[9], ARGV[2])
count('outcome:acknowledged', 1)
return 1
