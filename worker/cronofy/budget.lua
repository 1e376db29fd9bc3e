-- The budget of one application at one Cronofy origin: how many calls the fleet may make in any second and minute.
--
-- KEYS[1] zset: one member LOOK:N for each call of the last minute, scored by the server's time in ms. A look's first
-- call pays for all that it expects to make; each counts from then, and again from when it is made. Related keys:
--   :urgent    string: an urgent look began within the last minute
--   :paused    string: nothing is granted until it expires
--   :resumed   string: when the last pause ends or ended; kept half a minute longer than the pause
--   :strikes   string: how many 429s in a row gave no time to wait; expires two minutes after the last
--   :answers   hash: how many calls were answered well, and how many failed, by tens of seconds; five minutes
--   :failing   string: since when most calls fail; only few are granted to see whether they still do (:try, when the
--              last one was)
--   :clock     string: by how many seconds this server's clock is ahead of Cronofy's, if it is off, and when that was; five
--              minutes
--   :refused   string: our client id or secret is refused; only one probe a minute is granted (:probe)
--
-- KEYS[2] string: an operator paused the fleet, so nothing is granted while it exists (the ledger's P:paused).
-- KEYS[3] set: the KEYS[1] of every budget ever used, for status and metrics (the ledger's P:budgets).
--
-- Part of both limits is a reserve for urgent looks and for looks under way, that is, past their first call:
-- stopping those would waste what they have spent.
--
-- ARGV[1] = 'take': cost, limit per second, limit per minute, the look's name, calls it has made, calls it has paid
--     for, further calls to pay for, 'routine' or 'urgent' for its first call and '' for any other, '1' for a look
--     that tries our refused client
--   returns { 0 } if granted, { 0, 'trying' } if that is one of the few while most calls fail, or { ms to wait, why }
-- ARGV[1] = 'end': the look's name, calls it has made, calls it has paid for
-- ARGV[1] = 'room': limit per second, limit per minute, ms
--   returns how many routine looks can make their first call within that many ms
-- ARGV[1] = 'answered': how many calls were answered well, how many failed, Cronofy's time in seconds or ''
--   returns 1 if most calls fail from now on, 2 if they do not any more, otherwise 0
-- ARGV[1] = 'pause': ms that Cronofy asked for or '', jitter 0..1
--   returns the pause in ms, or 0 if one is already running
local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local calls, now, verb = KEYS[1], now_ms(), ARGV[1]

-- Calls reach Cronofy with a delay (a third of a second was measured on a busy machine), so our windows are a
-- little longer than its own.
local SECOND, MINUTE = 1400, 61000
-- The reserve, as a fraction of each limit. Half of it is lent out after a minute without urgent looks.
local RESERVE, LENT = 0.2, 0.1
-- After a pause, the limit per second grows from a tenth to the whole over this many ms.
local RECOVERY, LEAST = 30000, 0.1

if verb == 'pause' then
  local asked = tonumber(ARGV[2])
  local running = redis.call('PTTL', calls .. ':paused')
  if running > 0 and not (asked and asked > running) then return 0 end
  local length
  if asked then
    length = asked
  else
    local strikes = redis.call('INCR', calls .. ':strikes')
    redis.call('PEXPIRE', calls .. ':strikes', 120000)
    length = math.min(60000, 2000 * 2 ^ (strikes - 1)) * (1 + ARGV[3] / 4)
  end
  length = math.max(1, math.floor(length))
  redis.call('SET', calls .. ':paused', now + length, 'PX', length)
  redis.call('SET', calls .. ':resumed', now + length, 'PX', length + RECOVERY)
  return length
end

if verb == 'end' then
  for n = ARGV[3] + 1, ARGV[4] do redis.call('ZREM', calls, ARGV[2] .. ':' .. n) end
  return 0
end

-- Most calls fail if more than half of at least this many within a minute do; then one is granted each time this many ms are over.
local ENOUGH, TRY_EVERY = 10, 10000
-- By how many seconds clocks may differ: Cronofy's time is in whole ones, and of when it answered.
local CLOCKS_DIFFER = 30
local failing = redis.call('GET', calls .. ':failing')

if verb == 'answered' then
  local answers, well, badly = calls .. ':answers', tonumber(ARGV[2]), tonumber(ARGV[3])
  local tens = math.floor(now / 10000)
  if ARGV[4] ~= '' then
    local ahead = math.floor(now / 1000 - ARGV[4])
    if math.abs(ahead) > CLOCKS_DIFFER then
      redis.call('SET', calls .. ':clock', ahead .. ' ' .. now, 'PX', 300000)
    else
      redis.call('DEL', calls .. ':clock')
    end
  end
  if well > 0 then redis.call('HINCRBY', answers, tens .. ':well', well) end
  if badly > 0 then redis.call('HINCRBY', answers, tens .. ':badly', badly) end
  redis.call('PEXPIRE', answers, 310000)
  if failing then
    if well == 0 or badly > 0 then return 0 end
    -- The limit grows back as after a pause.
    redis.call('DEL', calls .. ':failing', calls .. ':try', answers)
    redis.call('SET', calls .. ':resumed', now, 'PX', RECOVERY)
    return 2
  end
  local all, failed, fields = 0, 0, redis.call('HGETALL', answers)
  for i = 1, #fields, 2 do
    local at, how = string.match(fields[i], '^(%d+):(%a+)$')
    if tens - at > 30 or tens < tonumber(at) then
      redis.call('HDEL', answers, fields[i])
    elseif tens - at < 6 then
      all = all + fields[i + 1]
      if how == 'badly' then failed = failed + fields[i + 1] end
    end
  end
  if all < ENOUGH or failed * 2 <= all then return 0 end
  redis.call('SET', calls .. ':failing', now)
  redis.call('SET', calls .. ':try', now)
  return 1
end

-- How long until one more call may be tried while most fail.
local function until_next_try()
  local last = tonumber(redis.call('GET', calls .. ':try') or 0)
  if last > now then return 0 end
  return math.max(0, last + TRY_EVERY - now)
end

redis.call('ZREMRANGEBYSCORE', calls, '-inf', now - MINUTE)
-- Calls of a time to come: the server's clock was set back.
for _, call in ipairs(redis.call('ZRANGE', calls, '(' .. now, '+inf', 'BYSCORE')) do redis.call('ZADD', calls, now, call) end

local function reduced(limit)
  local kept = redis.call('EXISTS', calls .. ':urgent') == 1 and RESERVE or RESERVE - LENT
  return math.max(1, math.floor(limit * (1 - kept)))
end

local function recovering(limit)
  local resumed = redis.call('GET', calls .. ':resumed')
  if not resumed then return limit end
  return math.max(1, math.floor(limit * math.min(1, math.max(LEAST, (now - resumed) / RECOVERY))))
end

local held_by_operator = redis.call('EXISTS', KEYS[2]) == 1

if verb == 'room' then
  if held_by_operator then return 0 end
  local second, minute, within = reduced(recovering(tonumber(ARGV[2]))), reduced(tonumber(ARGV[3])), tonumber(ARGV[4])
  if redis.call('PTTL', calls .. ':paused') > within then return 0 end
  if redis.call('EXISTS', calls .. ':refused') == 1 then return 1 - redis.call('EXISTS', calls .. ':probe') end
  if failing then return until_next_try() <= within and 1 or 0 end
  local staying = redis.call('ZCOUNT', calls, '(' .. now + within - MINUTE, '+inf')
  return math.max(0, math.min(minute - staying, second * math.ceil(within / SECOND)))
end

if held_by_operator then return { 5000, 'held' } end
local cost, look, kind = tonumber(ARGV[2]), ARGV[5], ARGV[9]
local made, paid, more = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local paused = redis.call('PTTL', calls .. ':paused')
if paused > 0 then return { paused, 'paused' } end
if redis.call('EXISTS', calls .. ':refused') == 1 and ARGV[10] ~= '1' then
  local free = redis.call('SET', calls .. ':probe', 1, 'NX', 'PX', 60000)
  return { free and 0 or redis.call('PTTL', calls .. ':probe'), free and 'probe' or 'refused' }
end

if failing and kind ~= '' then
  local rest = until_next_try()
  if rest > 0 then return { rest, 'failing' } end
end

local second, minute = recovering(tonumber(ARGV[3])), tonumber(ARGV[4])
if kind == 'urgent' then redis.call('SET', calls .. ':urgent', 1, 'PX', 60000) end
if kind == 'routine' then second, minute = reduced(second), reduced(minute) end

local function wait(window, limit)
  -- A look that expects more calls than a window holds gets a whole window.
  local wanted = math.max(cost, math.min(cost + more, limit))
  local over = redis.call('ZCOUNT', calls, '(' .. now - window, '+inf') + wanted - limit
  -- Do not count what is already paid for.
  for n = made + 1, math.min(made + cost, paid) do
    local at = redis.call('ZSCORE', calls, look .. ':' .. n)
    if at and tonumber(at) > now - window then over = over - 1 end
  end
  if over <= 0 then return 0 end
  local leaves = redis.call('ZRANGE', calls, '(' .. now - window, '+inf', 'BYSCORE', 'LIMIT', over - 1, 1, 'WITHSCORES')
  return leaves[2] and leaves[2] + window - now or window
end
local pause = math.max(wait(SECOND, second), wait(MINUTE, minute))
if pause > 0 then return { pause, 'spent' } end
if redis.call('EXISTS', calls) == 0 then redis.call('SADD', KEYS[3], calls) end
for n = made + 1, made + cost + more do redis.call('ZADD', calls, now, look .. ':' .. n) end
redis.call('PEXPIRE', calls, MINUTE)
if failing and kind ~= '' then
  redis.call('SET', calls .. ':try', now)
  return { 0, 'trying' }
end
return { 0 }
