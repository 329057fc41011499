#!lua
-- Sets the limits of an app, unless later ones are there. KEYS: 1 limits.
-- ARGV: 1 revision, 2 line, 3 whole schedule, 4.. its segments.
-- include mark
local revision = tonumber(redis.call('HGET', KEYS[1], 'revision') or 0)
local later = revision > tonumber(ARGV[1])
local same = revision == tonumber(ARGV[1]) and redis.call('HGET', KEYS[1], 'json') == ARGV[3]
if later or same then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'revision', ARGV[1], 'line', ARGV[2], 'json', ARGV[3])
for i = 4, #ARGV do redis.call('HSET', KEYS[1], i - 3, ARGV[i]) end
return 1
