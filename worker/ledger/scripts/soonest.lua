-- The pending events that start next; changes nothing. ARGV: P, how many
-- Returns { sub, value }... of so many events at most, the soonest first.
local now, most = now_ms(), tonumber(ARGV[2])

-- An account whose soonest meeting has started since the last sweep may have others.
local subs = redis.call('ZRANGEBYSCORE', STARTS, '-inf', now, 'LIMIT', 0, most)
for _, sub in ipairs(redis.call('ZRANGEBYSCORE', STARTS, '(' .. now, FAR, 'LIMIT', 0, most)) do subs[#subs + 1] = sub end

local found = {}
for _, sub in ipairs(subs) do
  for _, value in ipairs(redis.call('HVALS', events_key(sub))) do
    local _, start = header(value)
    if start > now and start < FAR then found[#found + 1] = { start, sub, value } end
  end
end
table.sort(found, function(a, b) return a[1] < b[1] end)
local answer = {}
for n = 1, math.min(most, #found) do
  answer[2 * n - 1], answer[2 * n] = found[n][2], found[n][3]
end
return answer
