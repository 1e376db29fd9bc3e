-- The ledger's keys: what each holds, how long it lives, who writes it. Every other script begins with this text.
-- A new key goes into two places: here, and worker/ledger/keys.py with its name for Python. A test compares them.
--
-- P is RECONCILER_KEY_PREFIX; SUB is an account's id as it came, always last in a key, so that no two
-- ids can make one key. Times are milliseconds of this server's clock. Packed values are msgpack.
--
--   P:account:SUB      hash    profile (packed: email, name), data_center, credentials (encrypted by the
--                              vault), standing ("active" or "lost"), memo (packed: what looks remember of
--                              the account), last_notice (when a notification last spoke of one of its events),
--                              channel (packed: its notification channel; the id first), channel_seen (when
--                              that was last known to stand as it says), channel_due (when it is to be
--                              checked; absent if only along with the events).
--                              Written by connect; memo and standing by commit; credentials also by a
--                              token refresh; last_notice by nudge; the channel's by channel, check_channel and
--                              commit, and by notification when one came over it. Until forgotten.
--   P:events:SUB       hash    pending events. field: <bytes in calendar id>:<calendar id><event id>,
--                              value: HEADER .. packed record, deflated. Written by track and commit;
--                              nudge only brings the next look forward.
--   P:settled:SUB      hash    assigned and closed events, the same shape; the header's next look is when
--                              the record may go. Expires HISTORY_KEEP after the last one settled.
--   P:notices:SUB        hash    what a notification said of a pending event since its last look (packed), by the
--                              event's field. Written by nudge, taken by the next look's commit.
--   P:calendar:ID      set     the accounts that have pending events in this calendar. Kept with the events.
--   P:letters:SUB      hash    the dead letter of each event that was parked, by the event's field. Written by
--                              commit; kept with the events.
--   P:claims           hash    SUB -> how many claims in a row no look ended. Counted by claim; ended by commit,
--                              taken back by release.
--   P:waiting          zset    SUB by the next look of its events
--   P:ready:CENTER     zset    the accounts of a data centre that are due, SUB by when its turn is: see turn()
--   P:leased           zset    SUB by the expiry of its lease. An account is in one of the three, or in
--                              none when it is lost, or has no pending event and no channel to check.
--   P:starts           zset    SUB by the soonest start that is still to come among its pending events. One that has
--                              come stays until the next sweep.
--   P:oldest           zset    SUB by when the longest tracked of its pending events was tracked
--   P:leases           hash    SUB -> the token of its lease; none while it is handed over to a task
--   P:wanted:SUB       string  how many urgent callers wait for the lease to end; a minute
--   P:freed:SUB        list    one entry for each of them once it has; a minute
--   P:woken:SUB        string  an urgent look of the account was woken a moment ago; 1.5 s
--   P:waking:SUB       string  another one will come when this expires; seconds
--   P:outcomes         stream  outcome (JSON); trimmed to OUTCOMES_KEEP
--   P:outcomes:sent    string  the stream id up to which outcomes were delivered to RECONCILER_OUTCOME_TASK
--   P:outcomes:lock    string  held by the one who delivers them; seconds
--   P:outbox           zset    mail id by when it is to be sent (or tried again)
--   P:mail:ID          hash    message (encrypted by the vault), sub, attempts. Until sent or refused.
--   P:refused:ID       string  when a mail server refused a mail for good, so that explain can say so; 30 days
--   P:dead-letters     stream  letter (packed: task, reason; payload, traceback and damaged record encrypted by
--                              the vault). Never trimmed: until replayed or dropped.
--   P:counters         hash    gauges events:pending, events:parked and cause:NUMBER; totals of all else, as
--                              worker/ledger/tallies.py names some of them
--   P:paused           string  when an operator paused the fleet: no call to Cronofy, no email; until resumed
--   P:slot             string  a sweep ran a moment ago; nearly one tick
--   P:swept            string  when the last sweep moved what was due
--   P:backlog          stream  pending events by cause, every five minutes of a day (field: the cause's number,
--                              those with none left out; pending: all of them). Written and trimmed by sweeps.
--   P:sampled          string  the newest sample is not five minutes old; until then
--   P:workers          zset    what a worker reports (JSON: name, queues) by when it last did; a minute
--   P:resuming         string  looks that the budget broke off are woken again in a moment; until then
--   P:budget:PLACE     zset    calls granted in the last minute, by time, for one application (client id) at
--                              one origin; worker/cronofy/budget.lua lists the keys beside it
--   P:budgets          set     the P:budget:PLACE of every place that was ever asked
--
-- HEADER is 25 bytes, big endian: double next look, double start, double when it was tracked, byte the cause's
-- number (worker/diagnosis/cause_table.py).

local P = ARGV[1]
local HEADER = 25
local FAR = 9e15
-- The next look of a parked event: it has none, and no notification gives it one.
local PARKED = 9.1e15

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function account_key(sub) return P .. ':account:' .. sub end
local function events_key(sub) return P .. ':events:' .. sub end
local function settled_key(sub) return P .. ':settled:' .. sub end

local WAITING, LEASED, LEASES = P .. ':waiting', P .. ':leased', P .. ':leases'
local CLAIMS, LETTERS = P .. ':claims', P .. ':dead-letters'
local COUNTERS = P .. ':counters'

local function notices_key(sub) return P .. ':notices:' .. sub end
local function letters_key(sub) return P .. ':letters:' .. sub end

local STARTS, OLDEST = P .. ':starts', P .. ':oldest'

-- Next look, start, when it was tracked, cause. A damaged value is due at once: the look that claims it sets it aside.
local function header(value)
  if #value < HEADER then return 0, FAR, FAR, 0 end
  local next_look, start, tracked, cause = struct.unpack('>dddB', value)
  if next_look ~= next_look then next_look = 0 end
  return next_look, start, tracked, cause
end

local function is_parked(value) return header(value) == PARKED end

local function due_at(value, at) return struct.pack('>d', at) .. string.sub(value, 9) end

-- A script that counts much sets `tally` to {}, and writes it with write_tally() at its end.
local tally

local function count(name, by)
  if tally then tally[name] = (tally[name] or 0) + by else redis.call('HINCRBY', COUNTERS, name, by) end
end

local function write_tally()
  for name, by in pairs(tally) do
    if by ~= 0 then redis.call('HINCRBY', COUNTERS, name, by) end
  end
end

local function calendar_of(field)
  local length = string.match(field, '^(%d+):')
  if not length then return '' end
  return string.sub(field, #length + 2, #length + 1 + length)
end

local left_calendars = {}

-- At the end of a script that removed events: forget the calendars in which the account has no more.
local function leave_calendars(sub)
  if not next(left_calendars) then return end
  for _, field in ipairs(redis.call('HKEYS', events_key(sub))) do left_calendars[calendar_of(field)] = nil end
  for calendar in pairs(left_calendars) do redis.call('SREM', P .. ':calendar:' .. calendar, sub) end
end

-- Write (value) or remove (nil) a pending event, keeping the gauges and the calendars true. `old` is its
-- present value, where that is known already.
local function put_event(sub, field, value, old)
  local key = events_key(sub)
  old = old or redis.call('HGET', key, field)
  if old then
    local _, _, _, cause = header(old)
    count('events:pending', -1)
    count('cause:' .. cause, -1)
    if is_parked(old) then count('events:parked', -1) end
  end
  if value then
    local _, _, _, cause = header(value)
    redis.call('HSET', key, field, value)
    count('events:pending', 1)
    count('cause:' .. cause, 1)
    if is_parked(value) then count('events:parked', 1) end
    if not old then redis.call('SADD', P .. ':calendar:' .. calendar_of(field), sub) end
  elseif old then
    redis.call('HDEL', key, field)
    redis.call('HDEL', notices_key(sub), field)
    redis.call('HDEL', letters_key(sub), field)
    left_calendars[calendar_of(field)] = true
  end
  return old
end

local function ready_key(center) return P .. ':ready:' .. center end

-- The data centre that an account is asked at; before it is connected, the one that is assumed of all.
local function center_of(sub) return redis.call('HGET', account_key(sub), 'data_center') or 'us' end

local function is_lost(sub) return redis.call('HGET', account_key(sub), 'standing') == 'lost' end

local DAY = 86400000

-- When it is the turn of an account that fell due at `since` and whose soonest meeting starts at `start`:
-- by the start, but a start further away than a day counts as within the second day, in the same order. So
-- nothing waits behind newcomers for longer than two days.
local function turn(start, since)
  local beyond = start - since - DAY
  if beyond <= 0 then return start end
  return since + DAY + DAY * beyond / (beyond + 30 * DAY)
end

local function displace(sub)
  redis.call('ZREM', WAITING, sub)
  redis.call('ZREM', ready_key(center_of(sub)), sub)
end

-- A claim whose lease is given back is none that no look ended.
local function uncount_claim(sub)
  if redis.call('HINCRBY', CLAIMS, sub, -1) <= 0 then redis.call('HDEL', CLAIMS, sub) end
end

local function index(key, sub, at)
  if at < FAR then redis.call('ZADD', key, at, sub) else redis.call('ZREM', key, sub) end
end

-- Update the indexes of starts and ages. Returns the nearest next look, and the soonest start among what is due.
local function weigh(sub, now)
  local nearest, soonest, starts, oldest = FAR, FAR, FAR, FAR
  for _, value in ipairs(redis.call('HVALS', events_key(sub))) do
    local next_look, start, tracked = header(value)
    if next_look < nearest then nearest = next_look end
    if tracked < oldest then oldest = tracked end
    if start > now and start < starts then starts = start end
    -- A meeting that has started can no longer be helped: it waits for those that can.
    if next_look <= now and start > now and start < soonest then soonest = start end
  end
  index(STARTS, sub, starts)
  index(OLDEST, sub, oldest)
  return nearest, soonest
end

-- Put an account that nobody holds where its events say it belongs.
local function place(sub, now)
  displace(sub)
  local nearest, soonest = weigh(sub, now)
  if is_lost(sub) then return end
  -- A channel is never urgent: it is checked when no meeting waits.
  local channel_due = redis.call('HGET', account_key(sub), 'channel_due')
  if channel_due then nearest = math.min(nearest, tonumber(channel_due)) end
  if nearest <= now then
    local at = soonest < FAR and turn(soonest, nearest) or nearest + DAY
    redis.call('ZADD', ready_key(center_of(sub)), at, sub)
  elseif nearest < FAR then
    redis.call('ZADD', WAITING, nearest, sub)
  end
end

-- The same, unless somebody holds it: then whoever ends the lease does it, and only the indexes are updated.
local function place_unless_leased(sub, now)
  if redis.call('ZSCORE', LEASED, sub) then weigh(sub, now) else place(sub, now) end
end

local function end_lease(sub, now)
  redis.call('ZREM', LEASED, sub)
  redis.call('HDEL', LEASES, sub)
  place(sub, now)
  local wanted = redis.call('GETDEL', P .. ':wanted:' .. sub)
  if wanted then
    local freed = P .. ':freed:' .. sub
    for _ = 1, tonumber(wanted) do redis.call('RPUSH', freed, 1) end
    redis.call('PEXPIRE', freed, 60000)
  end
end

-- Now and then, note how many events are pending for each cause: what the board plots.
local function sample(now)
  if not redis.call('SET', P .. ':sampled', 1, 'NX', 'PX', 300000) then return end
  local fields = { 'pending', redis.call('HGET', COUNTERS, 'events:pending') or 0 }
  local counters = redis.call('HGETALL', COUNTERS)
  for i = 1, #counters, 2 do
    local cause = string.match(counters[i], '^cause:(%d+)$')
    if cause and counters[i + 1] ~= '0' then
      fields[#fields + 1] = cause
      fields[#fields + 1] = counters[i + 1]
    end
  end
  redis.call('XADD', P .. ':backlog', 'MINID', '=', now - DAY, '*', unpack(fields))
end

local function add_outcome(outcome, keep)
  redis.call('XADD', P .. ':outcomes', 'MAXLEN', '~', keep, '*', 'outcome', outcome)
end

local function drop_mail(id)
  redis.call('ZREM', P .. ':outbox', id)
  return redis.call('DEL', P .. ':mail:' .. id)
end
