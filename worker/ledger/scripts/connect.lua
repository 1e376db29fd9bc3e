-- Store an account's credentials, and wake it if it was lost.
-- ARGV: P, sub, profile (what is not given is nil, and stays as it was), data centre, credentials, outcome, keep
local sub, key = ARGV[2], account_key(ARGV[2])
local now, standing, center = now_ms(), redis.call('HGET', key, 'standing'), center_of(sub)
if center ~= ARGV[4] then displace(sub) end

local former = redis.call('HGET', key, 'profile')
local readable, known = pcall(cmsgpack.unpack, former or '')
local given = cmsgpack.unpack(ARGV[3])
if readable and type(known) == 'table' then
  for _, name in ipairs({ 'email', 'name' }) do
    if given[name] == nil then given[name] = known[name] end
  end
end
-- Written out, since a table would drop what is nil.
local profile = '\130' .. cmsgpack.pack('email', given.email, 'name', given.name)
redis.call('HSET', key, 'profile', profile, 'data_center', ARGV[4], 'credentials', ARGV[5], 'standing', 'active')
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
