-- Take out of all lists those of these events that an older version removed without them. ARGV: P, { sub, field }...
for n = 2, #ARGV, 2 do
  local sub, field = ARGV[n], ARGV[n + 1]
  if redis.call('HEXISTS', events_key(sub), field) == 0 then put_in_lists(sub, field, {}) end
end
return 1
