#!lua flags=no-writes
-- The records of catalogs, each behind its number, in any order. KEYS: 1 catalogs. ARGV: 1 number
-- of the last record that is known ('0': none). Answer: the list; 0 where that is the last one.
-- include mark
local last = redis.call('HGET', KEYS[1], 'last') or '0'
if last == ARGV[1] then return 0 end
return redis.call('HGETALL', KEYS[1])
