#!lua flags=no-writes
-- Lists the records of catalogs, each behind its number, in any order. KEYS: 1 catalogs. ARGV: 1
-- number of the caller's last record ('0': none). Result: the list; 0 if that is the last one.
-- include mark
local last = redis.call('HGET', KEYS[1], 'last') or '0'
if last == ARGV[1] then return 0 end
return redis.call('HGETALL', KEYS[1])
