-- Give a lease back untouched. ARGV: P, sub, token. Returns 1 if it was still held.
if redis.call('HGET', LEASES, ARGV[2]) ~= ARGV[3] then return 0 end
uncount_claim(ARGV[2])
end_lease(ARGV[2], now_ms())
return 1
