-- Store an account's credentials, and wake it if it was lost, or waited for the application's next access token or
-- for a user whose address is another now.
-- ARGV: P, sub, profile (what is not given is nil, and stays as it was), data centre, credentials, outcome, keep,
-- token or '', the user's locale and zone or '' (fields of their own: an older release writes the profile without them), the
-- keyed hash of the email or ''
local sub, key = ARGV[2], account_key(ARGV[2])
local now, standing, center = now_ms(), redis.call('HGET', key, 'standing'), center_of(sub)
if center ~= ARGV[4] then displace(sub) end
local lapsed, asks = token_times(sub, redis.call('HGET', key, 'token'))
local waited = lapsed and lapsed <= now and not asks

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
-- Users who were asked to connect a profile may not have been reached at the former address.
local read, memo = pcall(cmsgpack.unpack, redis.call('HGET', key, 'memo') or '')
local asked = read and type(memo) == 'table' and type(memo[1]) == 'table' and next(memo[1])
asked = asked or redis.call('HEXISTS', key, 'connects') == 1
local readdressed = asked and readable and type(known) == 'table' and given.email ~= known.email
-- It is connected: nobody needs to be asked for that any more.
for id in string.gmatch(redis.call('HGET', key, 'reconnects') or '', '%S+') do cancel_mail(sub, id) end
if readable and type(known) == 'table' and given.email ~= known.email then redis.call('HDEL', REFUSALS, sub) end
redis.call('HDEL', key, 'reconnects')
redis.call('HSET', key, 'profile', profile, 'data_center', ARGV[4], 'credentials', ARGV[5], 'standing', 'active')
for place, name in ipairs({ 'locale', 'tzid' }) do
  if ARGV[8 + place] ~= '' then redis.call('HSET', key, name, ARGV[8 + place]) end
end
redis.call('ZADD', ACCOUNTS, 0, sub)
redis.call('ZREM', LOST, sub)
if ARGV[11] ~= '' then
  local hash = redis.call('HGET', key, 'address')
  if hash then redis.call('ZREM', EMAILS, hash .. sub) end
  redis.call('HSET', key, 'address', ARGV[11])
  redis.call('ZADD', EMAILS, 0, ARGV[11] .. sub)
end
if ARGV[8] ~= '' then
  redis.call('HSET', key, 'token', ARGV[8])
else
  redis.call('HDEL', key, 'token')
  redis.call('ZREM', OWING, sub)
end
-- Events tracked before the first connect keep their planned first look.
if standing == 'lost' or waited or readdressed then
  redis.call('HSET', key, 'news', now)
  local events = events_key(sub)
  local all = redis.call('HGETALL', events)
  for i = 1, #all, 2 do
    if not is_parked(all[i + 1]) then redis.call('HSET', events, all[i], due_at(all[i + 1], now)) end
  end
end
if standing ~= 'active' then
  add_outcomes({ ARGV[6] }, ARGV[7], sub)
  count('outcome:account_connected', 1)
end
if standing ~= 'active' or center ~= ARGV[4] or lapsed or ARGV[8] ~= '' or readdressed then
  place_unless_leased(sub, now)
end
return 1
