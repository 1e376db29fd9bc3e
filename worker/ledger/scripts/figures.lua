-- What status, metrics and the board show, in one step; changes nothing.
-- ARGV: P, how many of the events that start next, ms within which a worker must have reported, data centres
-- Returns { name, value }... for `read_figures`.
local now, most = now_ms(), tonumber(ARGV[2])
local acknowledged = redis.call('ZCARD', list_key('acknowledged'))

local function due()
  local n = redis.call('ZCOUNT', WAITING, '-inf', now) + redis.call('ZCOUNT', LEASED, '-inf', now)
  for i = 4, #ARGV do n = n + redis.call('ZCARD', ready_key(ARGV[i])) end
  return n
end

-- { sub, value, 1 if it is acknowledged }... of the pending events that start next, soonest first.
local function soonest(most)
  -- An account whose soonest meeting has started since the last sweep may have others.
  local subs = redis.call('ZRANGEBYSCORE', STARTS, '-inf', now, 'LIMIT', 0, most)
  for _, sub in ipairs(redis.call('ZRANGEBYSCORE', STARTS, '(' .. now, FAR, 'LIMIT', 0, most)) do
    subs[#subs + 1] = sub
  end
  local found, first = {}, {}
  for _, sub in ipairs(subs) do
    local events = redis.call('HGETALL', events_key(sub))
    for i = 1, #events, 2 do
      local _, start = header(events[i + 1])
      if start > now and start < FAR then
        found[#found + 1] = { start, sub, events[i + 1], events[i] }
      end
    end
  end
  table.sort(found, function(a, b) return a[1] < b[1] end)
  for n = 1, math.min(most, #found) do
    local _, sub, value, field = unpack(found[n])
    first[n] = { sub, value, redis.call('HEXISTS', acknowledged_key(sub), field) }
  end
  return first
end

-- { key, calls in the last minute, ms left of a pause (negative: none), 1 if our client is refused }...
local function budgets()
  local all = redis.call('SMEMBERS', P .. ':budgets')
  for i, key in ipairs(all) do
    all[i] = {
      key,
      redis.call('ZCOUNT', key, '(' .. now - 60000, '+inf'),
      redis.call('PTTL', key .. ':paused'),
      redis.call('EXISTS', key .. ':refused'),
    }
  end
  return all
end

return {
  { 'at', now },
  { 'counters', redis.call('HGETALL', COUNTERS) },
  { 'due', due() },
  { 'without_token', redis.call('ZCARD', OWING) },
  { 'leased', redis.call('ZCOUNT', LEASED, '(' .. now, '+inf') },
  { 'dead_letters', redis.call('XLEN', LETTERS) },
  { 'oldest', redis.call('ZRANGE', OLDEST, 0, 0, 'WITHSCORES') },
  -- More of them, so that not only acknowledged ones are shown.
  { 'soonest', soonest(most + math.min(acknowledged, 100)) },
  { 'escalated', redis.call('ZCARD', list_key('escalated')) },
  { 'acknowledged', acknowledged },
  -- What is written for later is not waiting; what is tried again waits for at most 15 minutes.
  { 'mail_queued', redis.call('ZCOUNT', P .. ':outbox', '-inf', now + 900000) },
  { 'paused', redis.call('GET', P .. ':paused') },
  { 'swept', redis.call('GET', P .. ':swept') },
  { 'workers', redis.call('ZRANGEBYSCORE', P .. ':workers', '(' .. now - ARGV[3], '+inf') },
  { 'budgets', budgets() },
}
