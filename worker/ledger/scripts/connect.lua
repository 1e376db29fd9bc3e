-- Store an account's credentials, and wake it if it was lost.
-- ARGV: P, sub, profile, data centre, credentials, outcome, keep
local sub, key = ARGV[2], account_key(ARGV[2])
local now, standing, center = now_ms(), redis.call('HGET', key, 'standing'), center_of(sub)
if center ~= ARGV[4] then displace(sub) end
redis.call('HSET', key, 'profile', ARGV[3], 'data_center', ARGV[4], 'credentials', ARGV[5], 'standing', 'active')
if standing ~= 'active' then
  local events = events_key(sub)
  -- Events tracked before the first connect keep their planned first look.
  if standing == 'lost' then
    local all = redis.call('HGETALL', events)
    for i = 1, #all, 2 do
      if not is_parked(all[i + 1]) then redis.call('HSET', events, all[i], due_at(all[i + 1], now)) end
    end
  end
  add_outcome(ARGV[6], ARGV[7])
  count('outcome:account_connected', 1)
end
if standing ~= 'active' or center ~= ARGV[4] then place_unless_leased(sub, now) end
return 1
