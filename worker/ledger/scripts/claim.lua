-- Lease an account: the ready one whose meeting starts soonest, or the one named.
-- ARGV: P, lease in ms, token, sub or '' for any
-- Returns {} when there is none, { ms } when another holds the one named for so much longer,
-- or { now, sub, account fields and values, event fields and values, hint fields and values }.
local now, length, token, sub = now_ms(), ARGV[2], ARGV[3], ARGV[4]
if sub == '' then
  sub = redis.call('ZRANGE', READY, 0, 0)[1]
  if not sub then return {} end
else
  local expiry = redis.call('ZSCORE', LEASED, sub)
  if expiry and tonumber(expiry) > now then
    local wanted = P .. ':wanted:' .. sub
    redis.call('INCR', wanted)
    redis.call('PEXPIRE', wanted, 60000)
    return { tonumber(expiry) - now }
  end
end
redis.call('ZREM', WAITING, sub)
redis.call('ZREM', READY, sub)
redis.call('ZADD', LEASED, now + length, sub)
redis.call('HSET', LEASES, sub, token)
return {
  now,
  sub,
  redis.call('HGETALL', account_key(sub)),
  redis.call('HGETALL', events_key(sub)),
  redis.call('HGETALL', hints_key(sub)),
}
