-- Erase an account with its credentials, events and unsent mail.
-- ARGV: P, sub, outcome that says so or '', keep
local sub = ARGV[2]
for _, letter in ipairs(redis.call('HVALS', letters_key(sub))) do redis.call('XDEL', LETTERS, letter) end
for _, field in ipairs(redis.call('HKEYS', events_key(sub))) do remove_event(sub, field) end
for _, field in ipairs(redis.call('HKEYS', settled_key(sub))) do note_id(sub, field, nil) end
-- What an older version removed is still listed.
for _, field in ipairs(redis.call('HKEYS', listed_key(sub))) do put_in_lists(sub, field, {}) end
for _, field in ipairs(redis.call('HKEYS', counted_key(sub))) do uncount(sub, field, now_ms()) end
forget_removed(sub)
for _, id in ipairs(redis.call('ZRANGE', P .. ':outbox', 0, -1)) do
  local whose, subs, incident = unpack(redis.call('HMGET', P .. ':mail:' .. id, 'sub', 'subs', 'incident'))
  if whose == sub then drop_mail(id) end
  for _, named in ipairs(subs and cmsgpack.unpack(subs) or {}) do
    -- It is composed again, without this account.
    if named == sub and drop_mail(id) == 1 and redis.call('HDEL', incident_key(incident), 'told', 'mailed') > 0 then
      redis.call('ZADD', INCIDENTS, 'XX', now_ms(), incident)
    end
  end
end
displace(sub)
for _, key in ipairs({ STARTS, OLDEST, OWING, LEASED, ACCOUNTS, LOST }) do redis.call('ZREM', key, sub) end
for _, key in ipairs({ LEASES, CLAIMS, REFUSALS }) do redis.call('HDEL', key, sub) end
redis.call('ZREM', EMAILS, (redis.call('HGET', account_key(sub), 'address') or '') .. sub)
redis.call('DEL', P .. ':outcomes:of:' .. sub)
redis.call('DEL', account_key(sub), settled_key(sub), past_key(sub), notices_key(sub))
redis.call('DEL', letters_key(sub), heard_key(sub), acknowledged_key(sub), untracked_key(sub))
for _, name in ipairs({ 'wanted', 'freed', 'woken', 'waking' }) do redis.call('DEL', P .. ':' .. name .. ':' .. sub) end
if redis.call('GET', P .. ':adopting') == sub then redis.call('DEL', P .. ':adopting') end
if ARGV[3] ~= '' then
  add_outcomes({ ARGV[3] }, ARGV[4])
  count('outcome:erasure_requested', 1)
end
return 1
