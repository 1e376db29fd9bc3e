-- Store an account's credentials and wake it if it was lost.
-- ARGV: P, sub, profile, credentials, outcome, keep
local sub, key = ARGV[2], account_key(ARGV[2])
local standing = redis.call('HGET', key, 'standing')
redis.call('HSET', key, 'profile', ARGV[3], 'credentials', ARGV[4], 'standing', 'active')
if standing ~= 'active' then
  local now, events = now_ms(), events_key(sub)
  -- What was tracked before the first connect keeps its own first look.
  if standing == 'lost' then
    local all = redis.call('HGETALL', events)
    for i = 1, #all, 2 do redis.call('HSET', events, all[i], due_at(all[i + 1], now)) end
  end
  tell(ARGV[5], ARGV[6])
  count('outcome:account_connected', 1)
  place_unless_leased(sub, now)
end
return 1
