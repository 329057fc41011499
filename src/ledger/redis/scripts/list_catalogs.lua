#!lua flags=no-writes
-- The records of catalogs, each behind its number, in any order; nothing where the last one is
-- known. KEYS: 1 catalogs. ARGV: 1 number of the last record that is known.
-- include mark
local last = redis.call('HGET', KEYS[1], 'last') or '0'
if last == ARGV[1] then return {} end
return redis.call('HGETALL', KEYS[1])
