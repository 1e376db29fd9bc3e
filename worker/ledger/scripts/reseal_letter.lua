-- Replace a dead letter, unless it is gone: under a new id, since an entry of a stream cannot be changed.
-- ARGV: P, id, new letter, account and field of the event that it may be about, or ''. Returns 1 if done.
local id, sub, field = ARGV[2], ARGV[4], ARGV[5]
if redis.call('XDEL', LETTERS, id) == 0 then return 0 end
local moved = redis.call('XADD', LETTERS, '*', 'letter', ARGV[3])
if sub ~= '' and redis.call('HGET', letters_key(sub), field) == id then
  redis.call('HSET', letters_key(sub), field, moved)
end
return 1
