-- Start watching events, or replace their records, one after the other. ARGV: P, packed list of { sub, field, value, the
-- lists that it is in, SHA-1 of the former record that its history goes on from, or '' }
-- Returns for each {}; or, with nothing written of it, the former record, and when that was untracked or 0.
local now = now_ms()
tally = {}

local function track(sub, field, value, lists, known)
  local pending = redis.call('HGET', events_key(sub), field)
  local former = pending or redis.call('HGET', settled_key(sub), field)
  local untracked = not former and redis.call('HGET', untracked_key(sub), field)
  former = former or untracked
  -- Already stored: the answer was lost, and the client sent the command again.
  if former and former ~= value and not is_still(former, known) then
    return { former, untracked and math.floor(header(former)) or 0 }
  end
  -- An older version leaves it behind when it settles or untracks an event.
  if not pending then redis.call('HDEL', acknowledged_key(sub), field) end
  local replaced = put_event(sub, field, value, lists, pending)
  local next_look, start, tracked = header(value)
  redis.call('HDEL', notices_key(sub), field)
  redis.call('HDEL', settled_key(sub), field)
  redis.call('HDEL', untracked_key(sub), field)
  redis.call('ZREM', past_key(sub), field)
  -- A new event can only bring the next look, the soonest start and the oldest event forward, so a bulk import need not
  -- reindex the whole account.
  if replaced then
    reindex(sub, now)
  else
    if start > now and start < FAR then redis.call('ZADD', STARTS, 'LT', start, sub) end
    redis.call('ZADD', OLDEST, 'LT', tracked, sub)
  end
  if not is_lost(sub) and not redis.call('ZSCORE', LEASED, sub) and not redis.call('ZSCORE', ready_key(center_of(sub)), sub) then
    redis.call('ZADD', WAITING, 'LT', next_look, sub)
  end
  return {}
end

local answers = {}
for n, event in ipairs(cmsgpack.unpack(ARGV[2])) do answers[n] = track(unpack(event)) end
write_tally()
return answers
