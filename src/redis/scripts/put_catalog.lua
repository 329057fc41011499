#!lua
-- Adds the record of a catalog behind the last one, removes others, and logs the change.
-- KEYS: 1 catalogs (records by number, and the last number under 'last'), 2 audit log. ARGV: 1
-- number of the last record, 2 number of the new one, 3 record, 4 number of the last entry ('':
-- nothing is logged), 5 entry, 6... numbers of records to remove.
-- Result: 1; 0 if another record is the last one; 2 if another entry was logged meanwhile.
-- include mark
-- include now
-- include skew
if (redis.call('HGET', KEYS[1], 'last') or '0') ~= ARGV[1] then return 0 end
if ARGV[4] ~= '' then
  if redis.call('LLEN', KEYS[2]) ~= tonumber(ARGV[4]) then return 2 end
  redis.call('RPUSH', KEYS[2], ARGV[5])
end
for index = 6, #ARGV do redis.call('HDEL', KEYS[1], ARGV[index]) end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
redis.call('HSET', KEYS[1], 'last', ARGV[2])
return 1
