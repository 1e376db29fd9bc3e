-- Finish a mail, or put it off.
-- ARGV: P, id, 'sent', 'refused' or 'later', ms to wait, outcome or '', keep, SHA-1 of the address that refused it
-- Does nothing for a mail that was cancelled or forgotten meanwhile.
local id, how = ARGV[2], ARGV[3]
if redis.call('EXISTS', P .. ':mail:' .. id) == 0 then
  drop_mail(id)
elseif how == 'later' then
  redis.call('ZADD', P .. ':outbox', now_ms() + ARGV[4], id)
else
  drop_mail(id)
  count('mail:' .. how, 1)
  if how == 'refused' then redis.call('SET', P .. ':refused:' .. id, ARGV[7], 'EX', 2592000) end
  if ARGV[5] ~= '' then
    add_outcome(ARGV[5], ARGV[6])
    count('outcome:escalated', 1)
  end
end
return 1
