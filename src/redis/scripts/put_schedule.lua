#!lua
-- Sets the limits of an app, unless later ones are stored. KEYS: 1 limits, 2 counter of writes.
-- ARGV: 1 revision, 2 line, 3 whole schedule, 4 line of earlier segments, 5 their number, 6.. the
-- earlier segments, then those of the line. Result: the counter after it.
-- include mark
-- include now
-- include skew
local revision = tonumber(redis.call('HGET', KEYS[1], 'revision') or 0)
local later = revision > tonumber(ARGV[1])
local same = revision == tonumber(ARGV[1]) and redis.call('HGET', KEYS[1], 'json') == ARGV[3]
  and redis.call('HGET', KEYS[1], 'past')
if later or same then return tonumber(redis.call('GET', KEYS[2]) or 0) end
local due = redis.call('HGET', KEYS[1], 'due')
redis.call('DEL', KEYS[1])
if due then redis.call('HSET', KEYS[1], 'due', due) end
redis.call('HSET', KEYS[1], 'revision', ARGV[1], 'line', ARGV[2], 'json', ARGV[3])
redis.call('HSET', KEYS[1], 'past', ARGV[4])
local past = tonumber(ARGV[5])
for i = 6, #ARGV do
  -- The beginning of the line counts as its first segment.
  local number = i - 5 <= past and 'p' .. i - 5 or i - 4 - past
  redis.call('HSET', KEYS[1], number, ARGV[i])
end
return redis.call('INCRBY', KEYS[2], 1)
