-- Erase an account with its credentials, events and unsent mail. ARGV: P, sub
local sub = ARGV[2]
for _, letter in ipairs(redis.call('HVALS', letters_key(sub))) do redis.call('XDEL', LETTERS, letter) end
for _, field in ipairs(redis.call('HKEYS', events_key(sub))) do put_event(sub, field, nil) end
leave_calendars(sub)
for _, id in ipairs(redis.call('ZRANGE', P .. ':outbox', 0, -1)) do
  if redis.call('HGET', P .. ':mail:' .. id, 'sub') == sub then drop_mail(id) end
end
displace(sub)
redis.call('ZREM', STARTS, sub)
redis.call('ZREM', OLDEST, sub)
redis.call('ZREM', OWING, sub)
redis.call('ZREM', LEASED, sub)
redis.call('HDEL', LEASES, sub)
redis.call('HDEL', CLAIMS, sub)
redis.call('DEL', account_key(sub), settled_key(sub), past_key(sub), notices_key(sub), letters_key(sub))
return 1
