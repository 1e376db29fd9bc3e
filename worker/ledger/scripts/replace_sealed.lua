-- Replace a sealed value: by a newer one, or by the same under another key. Not if it has changed since it was read.
-- ARGV: P, key, field, SHA-1 of the value as it was read, the new value, the account if these are the same credentials under
-- another key, and no look may hold it, or ''. Returns 1 if done.
local key, field, value, sub = ARGV[2], ARGV[3], ARGV[5], ARGV[6]
local present = redis.call('HGET', key, field)
-- Already replaced: the answer was lost, and the client sent the command again.
if present == value then return 1 end
if not present or redis.sha1hex(present) ~= ARGV[4] then return 0 end
if sub ~= '' then
  -- A look may have read the credentials, and checks that they have not changed before it writes.
  if redis.call('ZSCORE', LEASED, sub) then return 0 end
  local of, times = string.match(redis.call('HGET', key, 'token') or '', '^(%x+)( .*)$')
  if of == ARGV[4] then redis.call('HSET', key, 'token', redis.sha1hex(value) .. times) end
end
redis.call('HSET', key, field, value)
return 1
