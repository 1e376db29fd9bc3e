-- Make a pending event due now, and keep what a notification said about it for the look.
-- ARGV: P, sub, field, packed notice or '', what tells the notification's body from others, age in ms from which a
-- repeated body is a replay
-- Returns 1 if done, 0 if the event is not pending, is parked, or is held and the notice says nothing else.
local sub, field, notice, now = ARGV[2], ARGV[3], ARGV[4], now_ms()
local value, waits = redis.call('HGET', events_key(sub), field), only_waits(notice)
if value and notice ~= '' then
  -- A body does not say how old it is, but the same one, heard again much later, says nothing new.
  local packed = redis.call('HGET', heard_key(sub), field)
  local heard = packed and cmsgpack.unpack(packed) or {}
  if not heard[ARGV[5]] then
    heard[ARGV[5]] = now
    redis.call('HSET', heard_key(sub), field, cmsgpack.pack(heard))
  elseif now - heard[ARGV[5]] > tonumber(ARGV[6]) then
    notice = ''
  end
end
if notice ~= '' and (value or redis.call('HEXISTS', settled_key(sub), field) == 1) then
  -- Notifications about this account do arrive, so its events need less polling.
  redis.call('HSET', account_key(sub), 'last_notice', now)
end
if not value then return 0 end
if notice ~= '' then redis.call('HSET', notices_key(sub), field, notice) end
-- A parked event fails whatever a notification says: it waits for a person.
if is_parked(value) then return 0 end
if waits and notice ~= '' then
  for _, name in ipairs(cmsgpack.unpack(redis.call('HGET', listed_key(sub), field) or '\144')) do
    if string.match(name, '^held:provider_outage:') and redis.call('ZSCORE', list_key(name), #sub .. ':' .. sub .. field) then
      return 0
    end
  end
end
redis.call('HSET', events_key(sub), field, due_at(value, now))
if not waits then redis.call('HSET', account_key(sub), 'news', now) end
place_unless_leased(sub, now)
return 1
