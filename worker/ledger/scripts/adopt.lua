-- Start watching events that a read showed, unless somebody tracked them: the caller's record knows more.
-- ARGV: P, sub, packed { field, value }...
-- Returns the fields of those that were taken up; none if the account was forgotten meanwhile.
local sub, taken = ARGV[2], {}
if redis.call('HEXISTS', account_key(sub), 'credentials') == 0 then return taken end
for _, event in ipairs(cmsgpack.unpack(ARGV[3])) do
  local field, value = event[1], event[2]
  local known = redis.call('HGET', events_key(sub), field) or redis.call('HGET', settled_key(sub), field) or
    redis.call('HGET', untracked_key(sub), field)
  if not known then
    -- An older version leaves it behind when it settles or untracks an event.
    redis.call('HDEL', acknowledged_key(sub), field)
    -- Until a look reaches it, it is in no list.
    put_event(sub, field, value, {})
  end
  -- Already stored: the answer was lost, and the client sent the command again.
  if not known or known == value then taken[#taken + 1] = field end
end
place_unless_leased(sub, now_ms())
return taken
