-- Report that an account's erasure was requested, once for each channel over which that came.
-- ARGV: P, sub, id of the channel, outcome, keep. Returns 1 if it was reported now.
local key = account_key(ARGV[2])
if redis.call('EXISTS', key) == 0 or redis.call('HGET', key, 'erasure') == ARGV[3] then return 0 end
redis.call('HSET', key, 'erasure', ARGV[3])
add_outcomes({ ARGV[4] }, ARGV[5], ARGV[2])
count('outcome:erasure_requested', 1)
return 1
