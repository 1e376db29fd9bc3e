-- Record a worker's report. ARGV: P, report. Forgets workers that have not reported for a minute, and reports of a time to
-- come: the server's clock was set back.
local now, workers = now_ms(), P .. ':workers'
redis.call('ZREMRANGEBYSCORE', workers, '(' .. now, '+inf')
redis.call('ZADD', workers, now, ARGV[2])
redis.call('ZREMRANGEBYSCORE', workers, '-inf', now - 60000)
return 1
