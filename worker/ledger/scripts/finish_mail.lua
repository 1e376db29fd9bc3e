-- Finish a mail, or put it off.
-- ARGV: P, id, 'sent', 'owed', 'kept', 'refused' or 'later', ms to wait, packed outcomes ({ type, JSON }...), keep, SHA-1 of the
-- address that refused it, packed refusal, ms for which a refusal is told of, why it is put off
-- Does nothing for a mail that was cancelled or forgotten meanwhile.
local id, how, now = ARGV[2], ARGV[3], now_ms()
local mail = P .. ':mail:' .. id
if redis.call('EXISTS', mail) == 0 then
  drop_mail(id)
elseif how == 'later' then
  redis.call('ZADD', P .. ':outbox', now + ARGV[4], id)
  redis.call('HSETNX', P .. ':mail-trouble', 'since', now)
  redis.call('HSET', P .. ':mail-trouble', 'reason', ARGV[10])
else
  redis.call('DEL', P .. ':mail-trouble')
  -- A letter to the account's user has parts; one to the operator has none.
  local whose = redis.call('HEXISTS', mail, 'parts') == 1 and redis.call('HGET', mail, 'sub') or ''
  local told, sub, kind, attempts = false, unpack(redis.call('HMGET', mail, 'sub', 'kind', 'attempts'))
  redis.call(
    'XADD', P .. ':mails', 'MAXLEN', '~', 10000, '*',
    'id', id, 'sub', whose, 'kind', kind or '', 'how', how, 'attempts', attempts or 0
  )
  drop_mail(id)
  count('mail:' .. how, 1)
  if how == 'owed' or how == 'kept' then redis.call('SET', P .. ':unsent:' .. id, how, 'EX', 2592000) end
  if how == 'refused' then
    redis.call('SET', P .. ':refused:' .. id, ARGV[7], 'EX', 2592000)
    local former = redis.call('HGET', REFUSALS, whose)
    told = former and cmsgpack.unpack(former).by == ARGV[7]
    redis.call('HSET', REFUSALS, whose, ARGV[8])
    local all = redis.call('HGETALL', REFUSALS)
    for i = 1, #all, 2 do
      if cmsgpack.unpack(all[i + 1]).at < now - ARGV[9] then redis.call('HDEL', REFUSALS, all[i]) end
    end
  else
    redis.call('HDEL', REFUSALS, whose)
  end
  for _, outcome in ipairs(cmsgpack.unpack(ARGV[5])) do
    -- A person is told once of an address that is refused.
    if not (told and outcome[1] == 'escalated') then
      add_outcomes({ outcome[2] }, ARGV[6], sub ~= '' and sub)
      count('outcome:' .. outcome[1], 1)
    end
  end
end
return 1
