-- Lease an account: the named one, or the ready one whose turn it is.
-- ARGV: P, lease in ms, token, sub or '' for any, ms within which a start is near, the data centres to take from
-- Returns {} if none is ready, { ms } if someone else holds the named one for that much longer,
-- or { now, sub, account fields and values, event fields and values, notice fields and values, claims in a row,
-- fields and values of settled events that were closed as past within a day, the newest hundred, fields and values of
-- acknowledgements, fields and values of P:outages }.
local now, length, token, sub = now_ms(), ARGV[2], ARGV[3], ARGV[4]

local function first_ready()
  local found, at, rank
  for n = 6, #ARGV do
    local its, its_at, its_rank = first_of(ARGV[n], now, tonumber(ARGV[5]))
    if its and (not rank or its_rank < rank) then found, at, rank = its, its_at, its_rank end
  end
  return found, at
end

if sub == '' then
  local at
  sub, at = first_ready()
  -- Accounts whose meetings started while they waited go behind those that can still be helped; only some per call,
  -- since the script blocks the server.
  for _ = 1, 200 do
    if not sub or at > now then break end
    place(sub, now)
    local found, later = first_ready()
    if found == sub and later == at then break end
    sub, at = found, later
  end
  if not sub then return {} end
else
  local expiry = redis.call('ZSCORE', LEASED, sub)
  local holder = redis.call('HGET', LEASES, sub)
  -- With our token it is ours already: the answer was lost, and the client sent the command again.
  if expiry and tonumber(expiry) > now and holder and holder ~= token then
    local wanted = P .. ':wanted:' .. sub
    redis.call('INCR', wanted)
    redis.call('PEXPIRE', wanted, 60000)
    return { tonumber(expiry) - now }
  end
end
local closed = {}
for _, field in ipairs(redis.call('ZREVRANGEBYSCORE', past_key(sub), '+inf', now - DAY, 'LIMIT', 0, 100)) do
  local value = redis.call('HGET', settled_key(sub), field)
  if value then
    closed[#closed + 1] = field
    closed[#closed + 1] = value
  end
end
displace(sub)
redis.call('ZADD', LEASED, now + length, sub)
redis.call('HSET', LEASES, sub, token)
return {
  now,
  sub,
  redis.call('HGETALL', account_key(sub)),
  redis.call('HGETALL', events_key(sub)),
  redis.call('HGETALL', notices_key(sub)),
  redis.call('HINCRBY', CLAIMS, sub, 1),
  closed,
  redis.call('HGETALL', acknowledged_key(sub)),
  redis.call('HGETALL', P .. ':outages'),
}
