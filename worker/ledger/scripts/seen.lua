-- A worker reports. ARGV: P, what it reports. One that has not for a minute is forgotten.
local now, workers = now_ms(), P .. ':workers'
redis.call('ZADD', workers, now, ARGV[2])
redis.call('ZREMRANGEBYSCORE', workers, '-inf', now - 60000)
return 1
