-- Record a worker's report. ARGV: P, report. Forgets workers that have not reported for a minute.
local now, workers = now_ms(), P .. ':workers'
redis.call('ZADD', workers, now, ARGV[2])
redis.call('ZREMRANGEBYSCORE', workers, '-inf', now - 60000)
return 1
