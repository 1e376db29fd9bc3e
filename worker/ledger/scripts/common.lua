-- The ledger's keys: what each holds, how long it lives, who writes it. Every other script begins with this text.
-- A new key goes here; worker/ledger/keys.py names it if Python uses it, too. A test compares them.
--
-- P is RECONCILER_KEY_PREFIX. SUB is an account's id, unchanged and always last, so that no two ids share a key.
-- Times are milliseconds on this server's clock. Packed values are msgpack.
--
--   P:about            hash    layout (the number of this layout, see worker/ledger/layout.py) and id (of this ledger,
--                              random). Written by workers; never changed, but for a newer layout. Also tombstones,
--                              the key of P:forgotten, rooms, which names the rooms of events, and addresses, the key of
--                              P:emails; all random, and sealed by the vault. And directory: how far sweeps have come with
--                              what an older version wrote without P:accounts and the like (worker/ledger/directory.py).
--   P:account:SUB      hash    profile (packed: email, name), locale, tzid (how the user reads letters), data_center, credentials (encrypted by the
--                              vault), standing ("active" or "lost"), memo (packed: what looks remember about
--                              the account), profile_names (packed: by conferencing profile, also of those
--                              that are gone), mailed (packed: the relink emails of the last days, with the
--                              episodes that ended), connects (packed: the episodes of connect emails),
--                              reconnects (the ids of the emails that ask to connect it again, once it is lost;
--                              between spaces), choices (packed: what people chose in place of removed
--                              profiles), last_notice (when a notification was last about one of its events),
--                              channel (packed: its notification channel; the id first), channel_seen (when
--                              the channel was last known to be as recorded), channel_due (when to check it;
--                              absent if that happens only with the events), profiles_due (when to ask UserInfo
--                              for disconnected profiles, as a notification said; absent if none did, or once
--                              that is done), token (of an account whose
--                              application gives its access tokens: SHA-1 of the credentials, when it
--                              lapses, when to ask for the next or nothing once asked; between spaces),
--                              news (when a notification or a person last made something due; until a look),
--                              erasure (the channel over which its erasure was requested and reported),
--                              address (the keyed hash of its email in P:emails).
--                              Written by connect; memo, profile_names, connects, reconnects, mailed, choices,
--                              standing and token by commit; news by nudge, notification and connect, and removed by
--                              commit; profiles_due by notification and commit; credentials
--                              also by a token refresh; last_notice by nudge; the channel fields by channel,
--                              check_channel and commit, and by notification when one came
--                              over it. Until forgotten.
--   P:events:SUB       hash    pending events. field: <bytes in calendar id>:<calendar id><event id>,
--                              value: HEADER .. packed record, deflated. Written by track, reopen and commit;
--                              nudge only brings the next look forward.
--   P:settled:SUB      hash    assigned and closed events, in the same form; the header's next look is when
--                              the record may be deleted. Expires HISTORY_KEEP after the last one settled.
--   P:untracked:SUB    hash    events that a caller untracked, pending or settled, in the same form; the header's next look is
--                              when that was. Written by untrack; expires HISTORY_KEEP after the last one.
--   P:past:SUB         zset    the settled events that were closed as past within a day, by when: looks that read anyway
--                              see whether one was moved to the future. Written by commit; a day.
--   P:notices:SUB      hash    what a notification said about a pending event since its last look (packed), by
--                              the event's field. Written by nudge, removed by the next look's commit.
--   P:heard:SUB        hash    when each notification about a pending event was first heard (packed: milliseconds by
--                              the start of the body's SHA-1), by the event's field. Written by nudge; kept with
--                              the events.
--   P:listed:SUB       hash    the names of the lists that a pending event is in (packed), by the event's field; none if
--                              it merely generates. Written wherever a pending event is written or removed.
--   P:acknowledged:SUB hash    who answers for a pending event, and until when (packed, see worker/ledger/packing.py), by the
--                              event's field. Written by acknowledge; removed by the commit of the look that finds it
--                              over. Not in the event's record, which an older version could not read then.
--   P:counted:SUB      hash    how an event's meeting was counted in P:day ("START NAME BUCKET", see
--                              worker/ledger/tallies.py), by the event's field, so that it is counted once. Written by
--                              commit, removed by untrack; until a day after the last one's start, of a pending event until
--                              400 days after it.
--   P:calendar:ID      set     the accounts that have pending events in this calendar. Kept with the events.
--   P:letters:SUB      hash    the dead letter of each parked event, by the event's field. Written by commit;
--                              kept with the events.
--   P:claims           hash    SUB -> how many claims in a row no look ended. Counted by claim, taken back by
--                              release and hand_over, cleared by commit and channel.
--   P:waiting          zset    SUB by the next look of its events
--   P:ready:CENTER     zset    a data centre's due accounts: SUB by its turn(), a year earlier if it has news
--   P:due              zset    the ready accounts: SUB by since when it is due. An older version does not write it.
--   P:leased           zset    SUB by when its lease expires. An account is in one of these three, or in none
--                              if it is lost, or has no pending event and no channel to check.
--   P:outages          hash    what many events wait for together, CAUSE:PROVIDER@CENTER -> since when; "-" before that once
--                              it is over, until its events were made due. Begun and ended by commit, removed by outages.
--                              Also what keeps the whole fleet from its work, KIND@CENTER. Written by fleet.
--   P:reports:GROUP    list    when a look last reported such a thing, the newest last; ten minutes
--   P:canaries         string  when the next canaries are picked among the held events
--   P:accounts         zset    every SUB, in the order of its bytes (all scores are 0). Written by connect and wherever a pending
--                              event is written; until forgotten. Of earlier accounts see worker/ledger/directory.py.
--   P:lost             zset    SUB of each lost account, by when Cronofy refused it. Written by commit and connect.
--   P:ids:HASH         zset    which accounts have an event: HASH is the start of the SHA-1 of its id, an entry is what follows
--                              of that, and SUB; by when it may be deleted, far ahead while it is pending.
--                              Written wherever an event is written or removed. An older version does not write it.
--   P:emails           zset    which accounts were connected with an address: a keyed hash of it, then SUB (scores are 0). The
--                              hash is in P:account:SUB, too. Written by connect.
--   P:starts           zset    SUB by the soonest future start among its pending events. One that has passed
--                              stays until the next sweep.
--   P:oldest           zset    SUB by when its oldest pending event was tracked
--   P:owing            zset    SUB by when its access token lapsed: it has something to look at, and the application
--                              was asked for the next token
--   P:leases           hash    SUB -> the token of its lease; absent while it is handed over to a task
--   P:wanted:SUB       string  how many urgent callers wait for the lease to end; a minute
--   P:freed:SUB        list    one entry for each of them once the lease has ended; a minute
--   P:woken:SUB        string  until when no other urgent look at the account is woken; 1.5 s
--   P:waking:SUB       string  when another one comes; seconds
--   P:list:NAME        zset    pending events that have something in common, by start: <bytes in SUB>:<SUB><field>. NAME is
--                              cause:NUMBER, provider:PROVIDER, escalated and incident:ID, or instead of both
--                              acknowledged; came_back of those escalated whose acknowledgement ended. Written as P:listed:SUB is. An older version does not write it, so readers check each entry.
--   P:incident:ID      hash    what has one reason (worker/ledger/incidents.py): group, opened, joined (when its last
--                              event did), total (how many ever did), acknowledged (how many left so), news (1 once
--                              it holds anything that a person was not told of before), emptied (when its list
--                              became empty), told, mailed (1 if by email), closed, note:MS:RANDOM (JSON: who did what about it
--                              then), link (JSON: when the link of its email was used, and by whom). Written as lists
--                              are, and by tell and note. HISTORY_KEEP after it was closed it expires.
--   P:groups           hash    the newest incident of each group; until that is closed
--   P:incidents        zset    the incidents that are not closed, by when to see whether something is to be told
--   P:outcomes         stream  outcome (JSON); trimmed to about OUTCOMES_KEEP entries
--   P:outcomes:of:SUB  list    the stream ids of the newest 100 outcomes about an account, the newest first. 90 days after the
--                              last one it expires.
--   P:outcomes:sent    string  the stream id up to which outcomes were delivered to RECONCILER_OUTCOME_TASK
--   P:outcomes:lock    string  held by whoever delivers them; seconds
--   P:outcomes:posted:TO   string  the stream id up to which each outcome was posted, or is in one of the next three. TO is
--                              url, or a hash of one of RECONCILER_ESCALATION_URLS. See worker/ledger/posts.py.
--   P:outcomes:posting:TO  string  held by whoever posts them, and for a rest after several failures; a minute
--   P:outcomes:owed:TO     zset    stream id of an outcome that was not taken, or waits behind such a one, by when to try it
--   P:outcomes:tries:TO    hash    stream id -> how often it was tried; none if never
--   P:outcomes:dead:TO     hash    stream id -> an outcome that was given up (JSON: outcome, reason, tries, at). Until it is
--                              taken, dropped or its account forgotten.
--   P:outcomes:again       zset    TO, of RECONCILER_ESCALATION_URLS, by when to try again what is owed to it
--   P:outbox           zset    mail id by when to send it (or try again)
--   P:mail:ID          hash    message (encrypted by the vault), sub, attempts, kind; of one to a user also parts, what it was
--                              composed of (encrypted); of one about an incident also incident and
--                              subs (packed: the accounts that it names; sub is empty). Until sent or refused.
--   P:mails            stream  emails that left the outbox: id, sub (empty if to the operator), kind, how (sent, owed, kept or
--                              refused), attempts. Written by finish_mail; trimmed to about 10,000 entries.
--   P:answer:ID        list    the address at which a user connects a profile (encrypted by the vault), for the one
--                              page that waits for it; half a minute
--   P:asking:SUB       string  such an address was asked for just now; seconds
--   P:refused:ID       string  the SHA-1 of the address at which a mail server refused an email for good, so that
--                              explain can say so and another address can get it; 30 days
--   P:unsent:ID        string  why an email to a user went nowhere from here: 'owed', the application sends it; or 'kept', as
--                              a file for want of a mail server. So that explain does not call it sent; 30 days
--   P:refusals         hash    SUB, or '' for the operator -> the latest address of theirs that a mail server refused for good
--                              (packed, see worker/ledger/refusals.py). Until that is resolved.
--   P:dead-letters     stream  letter (packed: task, reason; payload, traceback and damaged record encrypted by
--                              the vault; at, when it was kept, if it was resealed since). Never trimmed;
--                              until replayed or dropped, or the account is forgotten.
--   P:handled          stream  dead letters that a person replayed or dropped: id, task, how, by. Trimmed to about 1,000 entries.
--   P:forgotten        zset    a keyed hash of each forgotten account's SUB by when that was; a year
--   P:counters         hash    gauges events:pending, events:parked and cause:NUMBER; all others are totals, some
--                              named in worker/ledger/tallies.py
--   P:paused           string  when an operator paused the fleet: no call to Cronofy, no email; until resumed
--   P:slot             string  when the slot ends that a sweep took; nearly one tick
--   P:swept            string  when the last sweep moved what was due
--   P:backlog          stream  pending events by cause, every five minutes for a day (fields: each cause's number,
--                              unless its count is 0, and pending for the total). Written and trimmed by sweeps.
--   P:day:DAY          hash    the meetings that start on a day (days since 1970, UTC), by how they began, and what the fleet
--                              did on it: calls, mails, asked and back. Names: worker/ledger/tallies.py. Written by commit,
--                              untrack and sweeps; 400 days
--   P:daily            hash    the totals that are in P:day already. Written by sweeps.
--   P:reported         string  the month (YYYY-MM) before which every report was written. Written by report.
--   P:sampled          string  the newest sample is less than five minutes old; until it is not
--   P:workers          zset    a worker's report (JSON: name, queues, by how many seconds its clock is off if it is, slow if it
--                              is far from this server) by when it last came; a minute
--   P:watched          string  until when no other process looks for trouble; seconds
--   P:troubles         hash    what was wrong when a process last looked, by its name (worker/trouble.py): since when.
--                              The log tells of what comes and goes
--   P:mail-trouble     hash    since when no email could be sent, and the last reason; until one was, or was refused
--   P:adopting         string  the SUB that a run of `reconciler adopt`, which has not ended, read last; a day
--   P:resuming         string  when looks that the budget broke off will be woken; until then
--   P:budget:PLACE     zset    calls granted in the last minute, by time, to one application (client id) at
--                              one origin; worker/cronofy/budget.lua lists the related keys
--   P:budgets          set     the P:budget:PLACE of every place that was ever called
--
-- HEADER is 25 bytes, big endian: next look, start and when it was tracked as doubles, then the cause's number as a
-- byte (worker/diagnosis/cause_table.py).

local P = ARGV[1]
local HEADER = 25
local FAR = 9e15
-- The number of the cause `event_in_past`.
local IN_PAST = 4
-- The "next look" of a parked event, which has none and gets none from notifications.
local PARKED = 9.1e15

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function account_key(sub) return P .. ':account:' .. sub end
local function events_key(sub) return P .. ':events:' .. sub end
local function settled_key(sub) return P .. ':settled:' .. sub end
local function untracked_key(sub) return P .. ':untracked:' .. sub end
local function past_key(sub) return P .. ':past:' .. sub end

local WAITING, LEASED, LEASES, DUE = P .. ':waiting', P .. ':leased', P .. ':leases', P .. ':due'
local CLAIMS, LETTERS = P .. ':claims', P .. ':dead-letters'
local REFUSALS = P .. ':refusals'
local COUNTERS = P .. ':counters'

local function notices_key(sub) return P .. ':notices:' .. sub end
local function heard_key(sub) return P .. ':heard:' .. sub end
local function letters_key(sub) return P .. ':letters:' .. sub end
local function listed_key(sub) return P .. ':listed:' .. sub end
local function acknowledged_key(sub) return P .. ':acknowledged:' .. sub end
local function list_key(name) return P .. ':list:' .. name end

local ACCOUNTS, LOST, EMAILS = P .. ':accounts', P .. ':lost', P .. ':emails'
local STARTS, OLDEST, OWING = P .. ':starts', P .. ':oldest', P .. ':owing'

-- Next look, start, when it was tracked, cause. A damaged value is due at once, so that a look sets it aside.
local function header(value)
  if #value < HEADER then return 0, FAR, FAR, 0 end
  local next_look, start, tracked, cause = struct.unpack('>dddB', value)
  if next_look ~= next_look then next_look = 0 end
  return next_look, start, tracked, cause
end

local function is_parked(value) return header(value) == PARKED end

local function due_at(value, at) return struct.pack('>d', at) .. string.sub(value, 9) end

-- A command on one key with any number of arguments: some at a time, since Lua cannot pass on more.
local function in_parts(command, key, arguments)
  for first = 1, #arguments, 1000 do
    redis.call(command, key, unpack(arguments, first, math.min(first + 999, #arguments)))
  end
end

-- What a hash says of an event. Most accounts have none of such facts, so that is asked once in a script.
local empty = {}

local function fact(key, field)
  if empty[key] == nil then empty[key] = redis.call('EXISTS', key) == 0 end
  return not empty[key] and redis.call('HGET', key, field)
end

local function put_fact(key, field, value)
  empty[key] = false
  redis.call('HSET', key, field, value)
end

-- Add to a number in a hash, and return what it is then. A script that counts a lot sets `tally` to {} and ends with
-- write_tally(): each number is then written once, and it returns nothing before.
local tally

local function add(key, name, by)
  if not tally then return redis.call('HINCRBY', key, name, by) end
  tally[key] = tally[key] or {}
  tally[key][name] = (tally[key][name] or 0) + by
end

local function count(name, by) add(COUNTERS, name, by) end

-- The account's data centre; before it is connected, the default.
local function center_of(sub) return redis.call('HGET', account_key(sub), 'data_center') or 'us' end

local function calendar_of(field)
  local length = string.match(field, '^(%d+):')
  if not length then return '' end
  return string.sub(field, #length + 2, #length + 1 + length)
end

-- Note which account has an event with this id, until a time; forget it where that is nil. If the account has one of the
-- same id in another calendar, the next look at that notes it again. With `now`, what is over beside it is forgotten, too.
local function note_id(sub, field, until_ms, now)
  local length = string.match(field, '^(%d+):')
  if not length then return end
  local hash = redis.sha1hex(string.sub(field, #length + 2 + length))
  local key, member = P .. ':ids:' .. string.sub(hash, 1, 4), string.sub(hash, 5, 12) .. sub
  if until_ms then redis.call('ZADD', key, until_ms, member) else redis.call('ZREM', key, member) end
  if now then redis.call('ZREMRANGEBYSCORE', key, '-inf', now) end
end

-- The accounts that this script has entered in P:accounts: each once, and not for each of its events.
local entered = {}

local removed, left_calendars = {}, {}

-- At the end of a script that removed events: forget all facts about them, and the calendars where the account has none left.
local function forget_removed(sub)
  if #removed == 0 then return end
  for _, key in ipairs({ events_key(sub), notices_key(sub), heard_key(sub), letters_key(sub), acknowledged_key(sub) }) do
    in_parts('HDEL', key, removed)
  end
  for _, field in ipairs(redis.call('HKEYS', events_key(sub))) do left_calendars[calendar_of(field)] = nil end
  for calendar in pairs(left_calendars) do redis.call('SREM', P .. ':calendar:' .. calendar, sub) end
end

local INCIDENTS, GROUPS = P .. ':incidents', P .. ':groups'
local HOUR, DAY = 3600000, 86400000

local function incident_key(id) return P .. ':incident:' .. id end

-- The incident that an event of this group joins: the open one, if the last one joined within an hour and the first one
-- within a day, otherwise a new one. `news` is 'new' if a person was not told of the event before; 'again' if they have to
-- be told again, so that it does not join one that was told; otherwise false.
local function join_incident(group, news)
  local now, id = now_ms(), redis.call('HGET', GROUPS, group)
  if id then
    local opened, joined, told = unpack(redis.call('HMGET', incident_key(id), 'opened', 'joined', 'told'))
    if not opened or now - joined > HOUR or now - opened > DAY or (told and news == 'again') then id = nil end
  end
  if not id then
    id = string.sub(redis.sha1hex(group .. ':' .. now .. (redis.call('HGET', GROUPS, group) or '')), 1, 10)
    redis.call('HSET', incident_key(id), 'group', group, 'opened', now)
    redis.call('HSET', GROUPS, group, id)
  end
  local key = incident_key(id)
  redis.call('HSET', key, 'joined', now)
  redis.call('HINCRBY', key, 'total', 1)
  redis.call('HDEL', key, 'emptied')
  if news then redis.call('HSET', key, 'news', 1) end
  redis.call('ZADD', INCIDENTS, now, id)
  return id
end

-- The incident of a group that is among these lists, if any, and if an event that is `news` can stay in it.
local function incident_among(names, group, news)
  for _, name in ipairs(names) do
    local id = string.match(name, '^incident:(.*)$')
    local its_group, told = unpack(id and redis.call('HMGET', incident_key(id), 'group', 'told') or {})
    if its_group == group and not (told and news == 'again') then return id end
  end
end

local function leave_incident(id, acknowledged)
  local key = incident_key(id)
  if redis.call('EXISTS', key) == 0 then return end
  if acknowledged then redis.call('HINCRBY', key, 'acknowledged', 1) end
  if redis.call('EXISTS', list_key('incident:' .. id)) == 0 then
    redis.call('HSET', key, 'emptied', now_ms())
    redis.call('ZADD', INCIDENTS, 'XX', now_ms(), id)
  end
end

-- Put an event into these lists, by its start, and out of all others. `group:GROUP` among them stands for its incident,
-- which it joins if it is in none of that group; `news` as for join_incident. One that is acknowledged is neither in
-- `escalated` nor in an incident. `came_back` if its acknowledgement has just ended; that stays known while it is escalated.
local function put_in_lists(sub, field, wanted, start, news, came_back)
  local former = fact(listed_key(sub), field)
  local acknowledged = start and fact(acknowledged_key(sub), field)
  -- It is in none, and was in none.
  if #wanted == 0 and not former and not acknowledged then return end
  local member, names, listed = #sub .. ':' .. sub .. field, {}, {}
  local before = former and cmsgpack.unpack(former) or {}
  for _, name in ipairs(wanted) do
    -- An outage is one of a data centre.
    if string.match(name, '^held:') or string.match(name, '^group:provider_outage:') or string.match(name, '^group:lapsed:') then
      name = name .. '@' .. center_of(sub)
    end
    local group = string.match(name, '^group:(.*)$')
    if not group then
      if not (acknowledged and name == 'escalated') then names[#names + 1] = name end
    elseif not acknowledged then
      names[#names + 1] = 'incident:' .. (incident_among(before, group, news) or join_incident(group, news))
    end
  end
  if acknowledged then names[#names + 1] = 'acknowledged' end
  for _, name in ipairs(before) do came_back = came_back or name == 'came_back' end
  for _, name in ipairs(wanted) do
    if came_back and not acknowledged and name == 'escalated' then names[#names + 1] = 'came_back' end
  end
  for _, name in ipairs(names) do
    listed[name] = true
    redis.call('ZADD', list_key(name), start, member)
  end
  for _, name in ipairs(before) do
    if not listed[name] then
      redis.call('ZREM', list_key(name), member)
      local id = string.match(name, '^incident:(.*)$')
      if id then leave_incident(id, acknowledged) end
    end
  end
  if next(listed) then
    put_fact(listed_key(sub), field, cmsgpack.pack(names))
  elseif former then
    redis.call('HDEL', listed_key(sub), field)
  end
end

local function count_pending(value, by)
  local _, _, _, cause = header(value)
  count('events:pending', by)
  count('cause:' .. cause, by)
  if is_parked(value) then count('events:parked', by) end
end

-- Write a pending event, keeping gauges, lists and calendars correct. `names` are the lists that it is in from now on. `old`
-- is its present value, if already known; `news` and `came_back` as for put_in_lists. Returns its former value.
local function put_event(sub, field, value, names, old, news, came_back)
  local key = events_key(sub)
  old = old or redis.call('HGET', key, field)
  if old then count_pending(old, -1) end
  count_pending(value, 1)
  redis.call('HSET', key, field, value)
  local _, start = header(value)
  put_in_lists(sub, field, names, start, news, came_back)
  note_id(sub, field, FAR)
  if not entered[sub] then entered[sub] = redis.call('ZADD', ACCOUNTS, 0, sub) end
  if not old then redis.call('SADD', P .. ':calendar:' .. calendar_of(field), sub) end
  return old
end

-- Remove a pending event (in forget_removed), likewise. Its id is forgotten, or with `now` noted until `until_ms`. Returns its
-- value, which may be given as `old`.
local function remove_event(sub, field, old, until_ms, now)
  old = old or redis.call('HGET', events_key(sub), field)
  put_in_lists(sub, field, {})
  if not old then return old end
  count_pending(old, -1)
  removed[#removed + 1] = field
  left_calendars[calendar_of(field)] = true
  note_id(sub, field, until_ms, now)
  return old
end

-- How many days of meetings are kept, and how many names one day has at most, before services count as one.
local DAYS_KEPT, MOST_NAMES = 400, 200

local function counted_key(sub) return P .. ':counted:' .. sub end

local function day_key(day) return P .. ':day:' .. day end

-- The days with something to add, and how many names that needs which they have not yet.
local days, more_names = {}, {}

local function add_to_day(day, name, by)
  local key = day_key(day)
  days[key] = day
  if add(key, name, by) == 0 then redis.call('HDEL', key, name) end
  if not tally then redis.call('PEXPIREAT', key, (day + DAYS_KEPT + 1) * DAY) end
end

local function write_tally()
  for key, names in pairs(tally) do
    local day = days[key]
    for name, by in pairs(names) do
      local sum = by ~= 0 and redis.call('HINCRBY', key, name, by)
      if day and sum == 0 then redis.call('HDEL', key, name) end
    end
    if day then redis.call('PEXPIREAT', key, (day + DAYS_KEPT + 1) * DAY) end
  end
end

-- Count a meeting, or with -1 take it back. `entry` is as in P:counted.
local function count_meeting(entry, by)
  local start, name, bucket = string.match(entry, '^(%d+) (%S+) ?(%d*)$')
  local day = math.floor(start / DAY)
  local key = day_key(day)
  -- What is older than the days that are kept is gone.
  if by < 0 and redis.call('EXISTS', key) == 0 then return end
  local is_known = tally and tally[key] and tally[key][name] or redis.call('HEXISTS', key, name) == 1
  if not is_known then
    local more = more_names[key] or 0
    if by < 0 or redis.call('HLEN', key) + more >= MOST_NAMES then
      name = string.match(name, '^[^:]*:') .. 'other'
    else
      more_names[key] = more + 1
    end
  end
  add_to_day(day, name, by)
  if bucket ~= '' then add_to_day(day, 't' .. bucket, by) end
end

-- Count an event's meeting as `entry` says, in place of what was counted of it; '' if it is not to be counted (yet).
-- `start` is when it starts as far as known, or 0. One that has begun stays as it is, unless it was moved. Returns until when
-- the account's P:counted has to hold the entry, which the caller writes, if that is news.
local function recount(sub, field, start, entry, now, pending)
  local key = counted_key(sub)
  local former = fact(key, field)
  if former == entry or not former and entry == '' then return end
  local began = former and tonumber(string.match(former, '^%d+'))
  if began and began <= now and (start == began or start == 0) then return end
  if former then
    count_meeting(former, -1)
    redis.call('HDEL', key, field)
  end
  if entry == '' then return end
  count_meeting(entry, 1)
  local until_ms = start + (pending and DAYS_KEPT or 1) * DAY
  if until_ms > now then return until_ms end
end

-- Forget how a meeting was counted; one that is still to come is taken back.
local function uncount(sub, field, now)
  local entry = redis.call('HGET', counted_key(sub), field)
  if not entry then return end
  if tonumber(string.match(entry, '^%d+')) > now then count_meeting(entry, -1) end
  redis.call('HDEL', counted_key(sub), field)
end

local function ready_key(center) return P .. ':ready:' .. center end

local function is_lost(sub) return redis.call('HGET', account_key(sub), 'standing') == 'lost' end

-- The order of due accounts, in one place.
--
-- First come those whose turn is near: their meeting starts soon, or they waited for two days. Then those with news:
-- an event that was never looked at, or one that a notification or a person made due; a look may help them at once,
-- unless the notification says only that the service fails.
-- Then those that merely wait. Within each, the soonest turn. So the account with the least of this is next:
--
--   turn + YEAR * (turn <= now + soon and 0 or news and 1 or 2)
--
-- Nothing starves, since no turn is more than two days after it became due, and the last looks before a start are near.
-- In the sorted set, those with news have their turn a YEAR earlier.
local YEAR = 365 * DAY

-- The turn of an account that became due at `since` and whose soonest meeting starts at `start`: at the start. But starts
-- more than a day away are squeezed, in the same order, into the second day.
local function turn(start, since)
  local beyond = start - since - DAY
  if beyond <= 0 then return start end
  return since + DAY + DAY * beyond / (beyond + 30 * DAY)
end

-- The ready account of a data centre that comes first, its turn, and its place in the order of all.
local function first_of(center, now, soon)
  local found, at, rank
  if redis.call('EXISTS', ready_key(center)) == 0 then return end
  for news, range in ipairs({ { '-inf', '(' .. now - YEAR / 2 }, { now - YEAR / 2, '+inf' } }) do
    local head = redis.call('ZRANGE', ready_key(center), range[1], range[2], 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
    if head[1] then
      local its_turn = tonumber(head[2]) + (news == 1 and YEAR or 0)
      local its_rank = its_turn + YEAR * (its_turn <= now + soon and 0 or news)
      if not rank or its_rank < rank then found, at, rank = head[1], its_turn, its_rank end
    end
  end
  return found, at, rank
end

local function displace(sub)
  redis.call('ZREM', WAITING, sub)
  redis.call('ZREM', ready_key(center_of(sub)), sub)
  redis.call('ZREM', DUE, sub)
end

-- A claim whose lease is given back does not count as one that no look ended.
local function uncount_claim(sub)
  if redis.call('HINCRBY', CLAIMS, sub, -1) <= 0 then redis.call('HDEL', CLAIMS, sub) end
end

local function index(key, sub, at)
  if at < FAR then redis.call('ZADD', key, at, sub) else redis.call('ZREM', key, sub) end
end

-- When the access token that the application gave lapses, and when to ask for the next (nil once asked). Nothing if
-- other credentials were stored since.
local function token_times(sub, token)
  local of, lapses, asks = string.match(token or '', '^(%x+) (%d+) (%d*)$')
  if of and of == redis.sha1hex(redis.call('HGET', account_key(sub), 'credentials') or '') then
    return tonumber(lapses), tonumber(asks)
  end
end

-- Whether a notice says only that the event's service fails: a look cannot help it.
local function only_waits(notice)
  local read, said = pcall(cmsgpack.unpack, notice or '')
  return notice and read and type(said) == 'table' and said[1] == 'conferencing_failing' and not said[2]
end

-- Update the indexes of starts and ages. Returns the nearest next look, the soonest start of a due event, and of any,
-- and whether a due event that may be helped was never looked at.
local function reindex(sub, now)
  local nearest, soonest, starts, oldest, unseen = FAR, FAR, FAR, FAR, false
  local events = redis.call('HGETALL', events_key(sub))
  for i = 1, #events, 2 do
    local field, value = events[i], events[i + 1]
    local next_look, start, tracked, cause = header(value)
    if next_look < nearest then nearest = next_look end
    if tracked < oldest then oldest = tracked end
    if start > now and start < starts then starts = start end
    -- A meeting that has started is past help, so it waits for those that are not.
    if next_look <= now and start > now and start < soonest then soonest = start end
    if next_look <= now and start > now and cause == 0 and not unseen then unseen = not only_waits(redis.call('HGET', notices_key(sub), field)) end
  end
  index(STARTS, sub, starts)
  index(OLDEST, sub, oldest)
  return nearest, soonest, starts, unseen
end

-- Put an account that nobody holds where its events say it belongs: waiting, ready or neither.
local function place(sub, now)
  displace(sub)
  local nearest, soonest, starts, unseen = reindex(sub, now)
  if is_lost(sub) then return end
  local channel_due, profiles_due, token, news =
    unpack(redis.call('HMGET', account_key(sub), 'channel_due', 'profiles_due', 'token', 'news'))
  local lapses, asks
  if token then
    lapses, asks = token_times(sub, token)
    local lapsed = lapses and lapses <= now
    index(OWING, sub, lapsed and not asks and nearest < FAR and lapses or FAR)
    -- Neither a channel can be checked nor UserInfo asked without a token.
    if lapsed then channel_due, profiles_due = nil, nil end
  end
  -- The next token is asked for only while something needs it; then it is as urgent as what it is for.
  if asks and nearest < FAR then
    nearest = math.min(nearest, asks)
    if asks <= now then soonest = starts end
  end
  -- A channel is never urgent: it is checked when no meeting is waiting.
  if channel_due then nearest = math.min(nearest, tonumber(channel_due)) end
  if profiles_due then nearest = math.min(nearest, tonumber(profiles_due)) end
  if nearest <= now then
    local at = soonest < FAR and turn(soonest, nearest) or nearest + DAY
    redis.call('ZADD', ready_key(center_of(sub)), at - ((unseen or news) and YEAR or 0), sub)
    redis.call('ZADD', DUE, nearest, sub)
  elseif nearest < FAR then
    redis.call('ZADD', WAITING, nearest, sub)
  end
end

-- The same, but if the account is leased only update the indexes: whoever ends the lease places it.
local function place_unless_leased(sub, now)
  if redis.call('ZSCORE', LEASED, sub) then reindex(sub, now) else place(sub, now) end
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

-- The totals of which each day's part is kept, besides calls.
local DAILY = {
  ['mail:sent'] = 'mails',
  ['outcome:relink_requested'] = 'asked',
  ['outcome:connect_requested'] = 'asked',
  ['outcome:relinked'] = 'back',
  ['outcome:connected'] = 'back',
}

-- Every five minutes, record how many events are pending for each cause, which the board plots, and what was done.
local function sample(now)
  if not redis.call('SET', P .. ':sampled', 1, 'NX', 'PX', 300000) then return end
  local fields = { 'pending', redis.call('HGET', COUNTERS, 'events:pending') or 0 }
  local counters, totals = redis.call('HGETALL', COUNTERS), { calls = 0, mails = 0, asked = 0, back = 0 }
  for i = 1, #counters, 2 do
    local cause = string.match(counters[i], '^cause:(%d+)$')
    if cause and counters[i + 1] ~= '0' then
      fields[#fields + 1] = cause
      fields[#fields + 1] = counters[i + 1]
    end
    local name = string.match(counters[i], '^call:') and 'calls' or DAILY[counters[i]]
    if name then totals[name] = totals[name] + counters[i + 1] end
  end
  for name, total in pairs(totals) do
    local counted = redis.call('HGET', P .. ':daily', name)
    redis.call('HSET', P .. ':daily', name, total)
    -- Before the first sample it is not known on which day something was.
    if counted and total > tonumber(counted) then add_to_day(math.floor(now / DAY), name, total - counted) end
  end
  redis.call('XADD', P .. ':backlog', 'MINID', '=', now - DAY, '*', unpack(fields))
end

-- Publish outcomes (JSON); `sub` is the account that they are about, if they are about one.
local function add_outcomes(outcomes, keep, sub)
  local ids = {}
  for n, outcome in ipairs(outcomes) do
    ids[n] = redis.call('XADD', P .. ':outcomes', 'MAXLEN', '~', keep, '*', 'outcome', outcome)
  end
  if not sub or #ids == 0 then return end
  local key = P .. ':outcomes:of:' .. sub
  in_parts('LPUSH', key, ids)
  redis.call('LTRIM', key, 0, 99)
  redis.call('PEXPIRE', key, 90 * DAY)
end

local function drop_mail(id)
  redis.call('ZREM', P .. ':outbox', id)
  return redis.call('DEL', P .. ':mail:' .. id)
end

-- The same for one that is no longer needed: what it asked for was done.
local function cancel_mail(sub, id)
  drop_mail(id)
  local refusal = redis.call('HGET', REFUSALS, sub)
  if refusal and cmsgpack.unpack(refusal).mail_id == id then redis.call('HDEL', REFUSALS, sub) end
end
