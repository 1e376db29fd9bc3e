-- Make a pending event due now, and keep what a notification said about it for the look.
-- ARGV: P, sub, field, packed notice or ''. Returns 1 if done, 0 if the event is not pending or is parked.
local sub, field, now = ARGV[2], ARGV[3], now_ms()
local value = redis.call('HGET', events_key(sub), field)
if ARGV[4] ~= '' and (value or redis.call('HEXISTS', settled_key(sub), field) == 1) then
  -- Notifications about this account do arrive, so its events need less polling.
  redis.call('HSET', account_key(sub), 'last_notice', now)
end
if not value then return 0 end
if ARGV[4] ~= '' then redis.call('HSET', notices_key(sub), field, ARGV[4]) end
-- A parked event fails whatever a notification says: it waits for a person.
if is_parked(value) then return 0 end
redis.call('HSET', events_key(sub), field, due_at(value, now))
place_unless_leased(sub, now)
return 1
