-- Take a slot, unless someone else did within the last `window`. ARGV: P, key, window in ms. Returns 1 if taken.
-- A slot that ends later than its window could was taken before the server's clock was set back: it does not count.
local key, window, now = ARGV[2], tonumber(ARGV[3]), now_ms()
local ends = tonumber(redis.call('GET', key) or 0)
if now < ends and ends <= now + window then return 0 end
redis.call('SET', key, now + window, 'PX', window)
return 1
