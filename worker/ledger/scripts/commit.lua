-- Write everything that one look at an account changes, if the lease is still held.
-- ARGV: P, sub, token, packed change:
--   done       true ends the lease; false keeps it (an intent, recorded before a write)
--   events     { field, next look and SHA-1 of the record as claimed, 'keep', 'settle' or 'drop', new value,
--              outcomes, the notice that the look used ('' for none) or false if it left notices alone,
--              dead letter or false, { counter of how long it took, milliseconds } if settled for the first time
--              or false, the lists that it is in if kept, the acknowledgement that is over or false, what join_incident
--              takes for news, when its meeting starts or 0, how that is counted or '' }...
--   about      SHA-1 of the credentials that the change is about, if it is: if the account was connected again
--              meanwhile, the whole change is void
--   lost       true if Cronofy refused them
--   token      what is now known of the access token in them, if that changes
--   parts      what changes of memo, profile_names, connects, mailed, choices and channel of the account
--   check_channel  true to check its notification channel next
--   reports    CAUSE:PROVIDER of what the look newly says of services; works: of what it shows to be over
--   outcomes   about the account as a whole; outcomes are { type, JSON }
--   profiles_due   { when UserInfo was to be asked, as claimed, when to ask again or '' } if the look did so;
--              channel_due: the same if this was a check of the channel, not of the events
--   mails      { id, encrypted message, when to send it or false for now, encrypted parts or false, kind }...; reconnects: the ids
--              that ask the user to connect a lost account; cancel: ids of mails not to send any more
--   keep_ms, outcomes_keep
--   figures    what is added to counters, by their names
-- Returns false if the lease is no longer held, otherwise { fields that changed meanwhile and were left alone,
-- 1 if the whole change is void or 0, the outages that began, those that ended }.
local sub, token, change = ARGV[2], ARGV[3], cmsgpack.unpack(ARGV[4])
if redis.call('HGET', LEASES, sub) ~= token then return false end
local now, account, settled, refused = now_ms(), account_key(sub), settled_key(sub), {}

if change.about and redis.sha1hex(redis.call('HGET', account, 'credentials') or '') ~= change.about then
  if change.done then end_lease(sub, now) end
  return { {}, 1, {}, {} }
end

tally = { [COUNTERS] = change.figures }

local published = {}

local function publish(outcomes)
  for _, outcome in ipairs(outcomes) do
    published[#published + 1] = outcome[2]
    count('outcome:' .. outcome[1], 1)
  end
end

if change.lost then
  redis.call('HSET', account, 'standing', 'lost')
  redis.call('ZADD', LOST, 'NX', now, sub)
end
if change.token then
  -- Already stored: the answer was lost, and the client sent the command again, which must not ask twice.
  if redis.call('HGET', account, 'token') == change.token then change.outcomes = {} end
  redis.call('HSET', account, 'token', change.token)
end
for name, part in pairs(change.parts) do redis.call('HSET', account, name, part) end
if change.parts.channel then redis.call('HSET', account, 'channel_seen', now) end
if change.check_channel then redis.call('HSETNX', account, 'channel_due', now) end
-- If another notification came meanwhile, or the account was connected again, it is done once more.
if change.profiles_due then put_off(sub, 'profiles_due', unpack(change.profiles_due)) end
if change.channel_due then put_off(sub, 'channel_due', unpack(change.channel_due)) end
publish(change.outcomes)

local settles, made_due, meetings, counted_until = {}, false, {}, 0
local had_settled = redis.call('EXISTS', settled) == 1
for _, event in ipairs(change.events) do
  local field, next_look, expected, verb, value = event[1], event[2], event[3], event[4], event[5]
  local present = redis.call('HGET', events_key(sub), field)
  if not is_still(present, expected) then
    refused[#refused + 1] = field
  else
    local notice, notice_taken = fact(notices_key(sub), field), event[7]
    if notice_taken and notice == notice_taken then
      redis.call('HDEL', notices_key(sub), field)
      notice = false
    end
    local came_back = event[11] and redis.call('HGET', acknowledged_key(sub), field) == event[11]
    if came_back then redis.call('HDEL', acknowledged_key(sub), field) end
    if event[8] then
      local former = redis.call('HGET', letters_key(sub), field)
      if former then redis.call('XDEL', LETTERS, former) end
      redis.call('HSET', letters_key(sub), field, redis.call('XADD', LETTERS, '*', 'letter', event[8]))
    end
    if verb == 'keep' and not is_parked(value) and (header(present) ~= next_look or (notice_taken and notice)) then
      -- It was made due during this look, perhaps after being read, so it is looked at again.
      value, made_due = due_at(value, now), true
    end
    if verb == 'settle' then
      if event[9] then
        count(event[9][1], 1)
        count('settle:ms', event[9][2])
      end
      remove_event(sub, field, present, now + change.keep_ms, now)
      settles[#settles + 1] = field
      settles[#settles + 1] = due_at(value, now + change.keep_ms)
      local _, _, _, cause = header(value)
      if cause == IN_PAST then
        redis.call('ZADD', past_key(sub), now, field)
        redis.call('ZREMRANGEBYSCORE', past_key(sub), '-inf', now - DAY)
        redis.call('PEXPIRE', past_key(sub), DAY)
      end
    elseif verb == 'keep' then
      put_event(sub, field, value, event[10], present, event[12], came_back)
    else
      remove_event(sub, field, present)
      -- Such a record is gone, so it can be in no list.
      if event[12] then join_incident('damaged', event[12]) end
    end
    local its_until = recount(sub, field, event[13], event[14], now, verb == 'keep')
    if its_until then
      meetings[#meetings + 1] = field
      meetings[#meetings + 1] = event[14]
      counted_until = math.max(counted_until, its_until)
    end
    publish(event[6])
  end
end
add_outcomes(published, change.outcomes_keep, sub)
if #meetings > 0 then
  in_parts('HSET', counted_key(sub), meetings)
  redis.call('PEXPIREAT', counted_key(sub), math.max(counted_until, now + redis.call('PTTL', counted_key(sub))))
end
forget_removed(sub)
if #settles > 0 then
  local all = had_settled and redis.call('HGETALL', settled) or {}
  for i = 1, #all, 2 do
    if header(all[i + 1]) <= now then redis.call('HDEL', settled, all[i]) end
  end
  in_parts('HSET', settled, settles)
  redis.call('PEXPIRE', settled, change.keep_ms)
  local counted = redis.call('HGETALL', counted_key(sub))
  for i = 1, #counted, 2 do
    local start = tonumber(string.match(counted[i + 1], '^%d+'))
    if start + DAY <= now and redis.call('HEXISTS', events_key(sub), counted[i]) == 0 then
      redis.call('HDEL', counted_key(sub), counted[i])
    end
  end
end
for _, mail in ipairs(change.mails) do
  local id, message, due, parts, kind = unpack(mail)
  queue_mail(id, due or now, message, sub, kind)
  if parts then redis.call('HSET', P .. ':mail:' .. id, 'parts', parts) end
end
if #change.reconnects > 0 then redis.call('HSET', account, 'reconnects', table.concat(change.reconnects, ' ')) end
for _, id in ipairs(change.cancel) do cancel_mail(sub, id) end

-- An outage begins with as many reports within ten minutes, if nothing shows in between that all is well. Profiles lapse
-- every day, so it takes more of those.
local REPORTS, WITHIN = { provider_outage = 10, credentials_expired = 50 }, 600000
local begun, ended, outages = {}, {}, P .. ':outages'
for _, name in ipairs(change.reports) do
  local group, needed = name .. '@' .. center_of(sub), REPORTS[string.match(name, '^[^:]*')]
  local reports, since = P .. ':reports:' .. group, redis.call('HGET', outages, group)
  redis.call('RPUSH', reports, now)
  redis.call('LTRIM', reports, -needed, -1)
  redis.call('PEXPIRE', reports, WITHIN)
  local first = redis.call('LINDEX', reports, -needed)
  if first and now - first <= WITHIN and (not since or string.sub(since, 1, 1) == '-') then
    redis.call('HSET', outages, group, first)
    begun[#begun + 1] = group
  end
end
for _, name in ipairs(change.works) do
  local group = name .. '@' .. center_of(sub)
  redis.call('DEL', P .. ':reports:' .. group)
  local since = redis.call('HGET', outages, group)
  if since and string.sub(since, 1, 1) ~= '-' then
    redis.call('HSET', outages, group, '-' .. since)
    ended[#ended + 1] = group
  end
end
write_tally()
if change.done then
  redis.call('HDEL', CLAIMS, sub)
  if not made_due and not change.channel_due then redis.call('HDEL', account, 'news') end
  end_lease(sub, now)
else
  reindex(sub, now)
end
return { refused, 0, begun, ended }
