#!lua flags=no-writes
-- Reads the latest crossings of thresholds (see warn.lua). KEYS: 1 the hash of thresholds.
-- ARGV: names of counts. Result: for each 'SENT_AT,USED,LIMIT,PERCENT', '' if there is none.
-- include mark
local crossings = {}
for i, what in ipairs(ARGV) do crossings[i] = redis.call('HGET', KEYS[1], 'x' .. what) or '' end
return crossings
