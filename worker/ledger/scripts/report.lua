-- Put the report on the last month into the outbox, once. ARGV: P, this month, mail id, encrypted message or '' if there is
-- nothing to report yet. Returns 1 if it was put there.
local key = P .. ':reported'
if redis.call('GET', key) == ARGV[2] then return 0 end
redis.call('SET', key, ARGV[2])
if ARGV[4] == '' then return 0 end
queue_mail(ARGV[3], now_ms(), ARGV[4], '', 'report')
return 1
