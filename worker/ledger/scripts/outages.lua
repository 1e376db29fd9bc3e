-- See to the outages: pick canaries among what is held, and make due what is held no longer, the soonest first.
-- ARGV: P, how many to make due at most, ms between canaries. Returns how many were made due, canaries left out.
local now, most, gap, made = now_ms(), tonumber(ARGV[2]), tonumber(ARGV[3]), 0
local rows = redis.call('HGETALL', P .. ':outages')
if #rows == 0 then return 0 end

local canaries = P .. ':canaries'
local at = tonumber(redis.call('GET', canaries) or 0)
local picks = now >= at or at > now + gap
if picks then redis.call('SET', canaries, now + gap) end

-- Make an event of a list due, as news.
local function look_at(list, member)
  local sub, field = split(member)
  local value = redis.call('HGET', events_key(sub), field)
  if not value or is_parked(value) then return redis.call('ZREM', list, member) end
  redis.call('HSET', events_key(sub), field, due_at(value, now))
  redis.call('HSET', account_key(sub), 'news', now)
  place_unless_leased(sub, now)
end

for i = 1, #rows, 2 do
  -- What concerns the whole fleet has no events.
  if string.find(rows[i], ':', 1, true) then
    local group, is_over = rows[i], string.sub(rows[i + 1], 1, 1) == '-'
    local list = list_key('held:' .. group)
    local ahead = redis.call('ZRANGE', list, now, '+inf', 'BYSCORE', 'LIMIT', 0, is_over and most - made or 1)
    if is_over then
      if #ahead == 0 then ahead = redis.call('ZRANGE', list, 0, most - made - 1) end
      for _, member in ipairs(most > made and ahead or {}) do
        look_at(list, member)
        redis.call('ZREM', list, member)
        made = made + 1
      end
    elseif picks then
      for _, member in ipairs(ahead) do look_at(list, member) end
      local any = redis.call('ZRANDMEMBER', list)
      if any and any ~= ahead[1] then look_at(list, any) end
    end
    -- Nothing waits for it, and nothing says that it goes on.
    local reported = now - (redis.call('LINDEX', P .. ':reports:' .. group, -1) or 0) < 600000
    if redis.call('EXISTS', list) == 0 and (is_over or not reported) then redis.call('HDEL', P .. ':outages', group) end
  end
end
return made
