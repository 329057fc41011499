#!lua
-- Writes an app's document whose revision follows the one that is there, and logs the change.
-- KEYS: 1 documents, 2 index, 3 audit log, 4 statements. ARGV: 1 app ('' where only the log grows),
-- 2 revision, 3 document, 4 number of the last entry, 5 entry, 6 app and month of a statement ('':
-- none is written), 7 statement.
-- Answer: 1; 0 on a conflict; 2 where another entry was logged meanwhile.
-- include mark
-- include now
if ARGV[1] ~= '' then
-- include skew
  local there = redis.call('HGET', KEYS[1], ARGV[1])
  local revision = there and tonumber(string.match(there, '^%d+')) or 0
  if revision + 1 ~= tonumber(ARGV[2]) then return 0 end
end
if redis.call('LLEN', KEYS[3]) ~= tonumber(ARGV[4]) then return 2 end
redis.call('RPUSH', KEYS[3], ARGV[5])
if ARGV[1] ~= '' then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[3])
  redis.call('ZADD', KEYS[2], 0, ARGV[1])
end
if ARGV[6] ~= '' then redis.call('HSET', KEYS[4], ARGV[6], ARGV[7]) end
return 1
