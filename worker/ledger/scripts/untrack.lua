-- Stop watching an event. ARGV: P, sub, field, ms to keep what is known of it. Returns 1 if it was known.
local sub, field, now, key = ARGV[2], ARGV[3], now_ms(), untracked_key(ARGV[2])
local value = redis.call('HGET', settled_key(sub), field)
redis.call('HDEL', settled_key(sub), field)
note_id(sub, field, nil)
redis.call('ZREM', past_key(sub), field)
value = remove_event(sub, field) or value
uncount(sub, field, now)
if value then
  redis.call('HSET', key, field, due_at(value, now))
  redis.call('PEXPIRE', key, ARGV[4])
  -- Older ones go bit by bit, since there may be many.
  local some = redis.call('HRANDFIELD', key, 10, 'WITHVALUES')
  for i = 1, #some, 2 do
    if header(some[i + 1]) < now - ARGV[4] then redis.call('HDEL', key, some[i]) end
  end
end
forget_removed(sub)
place_unless_leased(sub, now)
return value and 1 or 0
