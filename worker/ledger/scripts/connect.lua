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

-- A packed value of the account; nothing if there is none, or it is damaged.
local function stored(name)
  local readable, value = pcall(cmsgpack.unpack, redis.call('HGET', key, name) or '')
  return readable and type(value) == 'table' and value
end

local known, memo, given = stored('profile'), stored('memo'), cmsgpack.unpack(ARGV[3])
for _, name in ipairs({ 'email', 'name' }) do
  if known and given[name] == nil then given[name] = known[name] end
end
-- Written out, since a table would drop what is nil.
local profile = '\130' .. cmsgpack.pack('email', given.email, 'name', given.name)
-- Users who were asked to connect a profile may not have been reached at the former address.
local asked = memo and type(memo[1]) == 'table' and next(memo[1]) or redis.call('HEXISTS', key, 'connects') == 1
local is_another = known and given.email ~= known.email
local readdressed = asked and is_another
-- It is connected: nobody needs to be asked for that any more.
for id in string.gmatch(redis.call('HGET', key, 'reconnects') or '', '%S+') do cancel_mail(sub, id) end
if is_another then redis.call('HDEL', REFUSALS, sub) end
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
  make_all_due(sub, now)
end
if standing ~= 'active' then
  add_outcomes({ ARGV[6] }, ARGV[7], sub)
  count('outcome:account_connected', 1)
end
if standing ~= 'active' or center ~= ARGV[4] or lapsed or ARGV[8] ~= '' or readdressed then
  place_unless_leased(sub, now)
end
return 1
