-- The budget of one Cronofy origin: what the fleet may ask within any second and any minute.
--
-- KEYS[1] zset: one member for each request granted, by the server's time in ms. Beside it, as strings:
--   :paused   nothing is granted before it expires
--   :strikes  how many 429s in a row came without a time to wait; forgotten two minutes after the last
--   :refused  our client id or secret is refused; only a probe is granted, one a minute (:probe)
--
-- ARGV[1] = 'take': cost, requests a second, requests a minute, nonce, '1' for a probe
--   returns { 0 } if granted, or { ms to wait, why }
-- ARGV[1] = 'pause': ms told by Cronofy or '', jitter 0..1
--   returns ms of the pause, or 0 where one is running already
local calls = KEYS[1]
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)

if ARGV[1] == 'pause' then
  local told = ARGV[2] ~= ''
  local running = redis.call('PTTL', calls .. ':paused')
  if running > 0 and not (told and tonumber(ARGV[2]) > running) then return 0 end
  local length
  if told then
    length = tonumber(ARGV[2])
  else
    local strikes = redis.call('INCR', calls .. ':strikes')
    redis.call('PEXPIRE', calls .. ':strikes', 120000)
    length = math.min(60000, 2000 * 2 ^ (strikes - 1)) * (1 + ARGV[3] / 4)
  end
  length = math.max(1, math.floor(length))
  redis.call('SET', calls .. ':paused', now + length, 'PX', length)
  return length
end

local cost = tonumber(ARGV[2])
local paused = redis.call('PTTL', calls .. ':paused')
if paused > 0 then return { paused, 'paused' } end
if redis.call('EXISTS', calls .. ':refused') == 1 and ARGV[6] ~= '1' then
  local free = redis.call('SET', calls .. ':probe', 1, 'NX', 'PX', 60000)
  return { free and 0 or redis.call('PTTL', calls .. ':probe'), free and 'probe' or 'refused' }
end

-- What Cronofy sees is shifted by each request's way there, so the windows are a little longer than its own.
redis.call('ZREMRANGEBYSCORE', calls, '-inf', now - 61000)
local function wait(window, limit)
  local over = redis.call('ZCOUNT', calls, now - window, '+inf') + cost - limit
  if over <= 0 then return 0 end
  local leaves = redis.call('ZRANGE', calls, now - window, '+inf', 'BYSCORE', 'LIMIT', over - 1, 1, 'WITHSCORES')
  return leaves[2] and leaves[2] + window - now + 1 or window
end
local pause = math.max(wait(1200, tonumber(ARGV[3])), wait(61000, tonumber(ARGV[4])))
if pause > 0 then return { pause, 'spent' } end
for i = 1, cost do redis.call('ZADD', calls, now, ARGV[5] .. ':' .. i) end
redis.call('PEXPIRE', calls, 61000)
return { 0 }
