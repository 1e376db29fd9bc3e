-- What status, metrics and the board show, in one step; changes nothing.
-- ARGV: P, how many of the events that start next, ms within which a worker must have reported, ms after which a look is
-- late, data centres
-- Returns { name, value }... for `read_figures`; what is a number has the name of its field.
local now, most = now_ms(), tonumber(ARGV[2])
local acknowledged = redis.call('ZCARD', list_key('acknowledged'))

local function due()
  local n = redis.call('ZCOUNT', WAITING, '-inf', now) + redis.call('ZCOUNT', LEASED, '-inf', now)
  for i = 5, #ARGV do n = n + redis.call('ZCARD', ready_key(ARGV[i])) end
  return n
end

-- What is going on for many at once: { what, since, how many events are held for it }...
local function outages()
  local all, rows = {}, redis.call('HGETALL', P .. ':outages')
  for i = 1, #rows, 2 do
    if string.sub(rows[i + 1], 1, 1) ~= '-' then
      all[#all + 1] = { rows[i], rows[i + 1], redis.call('ZCARD', list_key('held:' .. rows[i])) }
    end
  end
  return all
end

-- How many calls of five minutes Cronofy answered, and how many failed.
local function answers(key)
  local well, badly, fields = 0, 0, redis.call('HGETALL', key .. ':answers')
  for i = 1, #fields, 2 do
    local at, how = string.match(fields[i], '^(%d+):(%a+)$')
    if math.abs(math.floor(now / 10000) - at) <= 30 then
      if how == 'well' then well = well + fields[i + 1] else badly = badly + fields[i + 1] end
    end
  end
  return { well, badly }
end

-- By how many seconds the clock is ahead of Cronofy's, if it is off. It may have been set since.
local function clock(key)
  local ahead, at = string.match(redis.call('GET', key .. ':clock') or '', '^(%S+) (%d+)$')
  return at and math.abs(now - at) < 300000 and ahead or '0'
end

local function is_held(sub, field)
  local names = redis.call('HGET', listed_key(sub), field)
  for _, name in ipairs(names and cmsgpack.unpack(names) or {}) do
    if string.sub(name, 1, 5) == 'held:' then return 1 end
  end
  return 0
end

-- { start, cause's number } of the escalated event that starts next. What an older version removed may still be listed.
local function soonest_escalated()
  for _, member in ipairs(redis.call('ZRANGE', list_key('escalated'), '(' .. now, '(' .. FAR, 'BYSCORE', 'LIMIT', 0, 20)) do
    local sub, field = split(member)
    local value = redis.call('HGET', events_key(sub), field)
    if value then
      local _, start, _, cause = header(value)
      return { tostring(start), cause }
    end
  end
  return {}
end

-- How many incidents have events now; those of the whole fleet have none.
local function open_incidents()
  local n = 0
  for _, id in ipairs(redis.call('ZRANGE', INCIDENTS, 0, 999)) do
    local group, emptied = unpack(redis.call('HMGET', incident_key(id), 'group', 'emptied'))
    local kind = string.match(group or '', '^[^:@]*')
    local is_of_fleet = kind == 'cronofy_failing' or kind == 'client_refused' or kind == 'no_budget'
    if group and not emptied and not is_of_fleet then n = n + 1 end
  end
  return n
end

-- { sub, field, value, 1 if it is acknowledged, 1 if it is held }... of the pending events that start next, soonest first.
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
    first[n] = { sub, field, value, redis.call('HEXISTS', acknowledged_key(sub), field), is_held(sub, field) }
  end
  return first
end

-- { key, calls in the last minute, ms left of a pause (negative: none), 1 if our client is refused, answers, by how many
-- seconds this server's clock is ahead of Cronofy's, if it is off }...
local function budgets()
  local all = redis.call('SMEMBERS', P .. ':budgets')
  for i, key in ipairs(all) do
    all[i] = {
      key,
      redis.call('ZCOUNT', key, '(' .. now - 60000, '+inf'),
      redis.call('PTTL', key .. ':paused'),
      redis.call('EXISTS', key .. ':refused'),
      answers(key),
      clock(key),
    }
  end
  return all
end

local waits, held = outages(), 0
for _, each in ipairs(waits) do held = held + each[3] end

return {
  { 'at', now },
  { 'outages', waits },
  { 'late', redis.call('ZCOUNT', DUE, '-inf', now - ARGV[4]) },
  { 'late_since', redis.call('ZRANGE', DUE, 0, 0, 'WITHSCORES')[2] or tostring(now) },
  { 'counters', redis.call('HGETALL', COUNTERS) },
  { 'due', due() },
  { 'without_token', redis.call('ZCARD', OWING) },
  { 'leased', redis.call('ZCOUNT', LEASED, '(' .. now, '+inf') },
  { 'dead_letters', redis.call('XLEN', LETTERS) },
  { 'oldest_tracked_at', redis.call('ZRANGE', OLDEST, 0, 0, 'WITHSCORES')[2] or false },
  -- More of them, so that not only acknowledged and held ones are shown.
  { 'soonest', soonest(most + math.min(acknowledged + held, 100)) },
  { 'escalated', redis.call('ZCARD', list_key('escalated')) },
  { 'acknowledged', acknowledged },
  { 'came_back', redis.call('ZCARD', list_key('came_back')) },
  { 'soonest_escalated', soonest_escalated() },
  { 'lost', redis.call('ZCARD', LOST) },
  { 'open_incidents', open_incidents() },
  { 'mail_trouble', redis.call('HMGET', P .. ':mail-trouble', 'since', 'reason') },
  { 'refused_addresses', redis.call('HLEN', REFUSALS) },
  -- Some of them; all if they are few.
  { 'refusals', redis.call('HSCAN', REFUSALS, 0, 'COUNT', 50)[2] },
  { 'outcomes_owed', redis.call('ZCARD', P .. ':outcomes:owed:' .. 'url') },
  { 'outcomes_given_up', redis.call('HLEN', P .. ':outcomes:dead:' .. 'url') },
  -- What is written for later is not waiting; what is tried again waits for at most 15 minutes.
  { 'mail_queued', redis.call('ZCOUNT', P .. ':outbox', '-inf', now + 900000) },
  { 'paused_since', redis.call('GET', P .. ':paused') },
  { 'last_sweep_at', redis.call('GET', P .. ':swept') },
  { 'workers', redis.call('ZRANGEBYSCORE', P .. ':workers', '(' .. now - ARGV[3], '+inf') },
  { 'budgets', budgets() },
}
