#!lua
-- Writes an app's document if its revision follows the stored one, and logs the change.
-- KEYS: 1 documents, 2 index, 3 audit log, 4 statements, 5 unknown apps, of which it no longer is
-- one.
-- ARGV: 1 app ('' if only the log grows), 2 revision, 3 document, 4 number of the last entry, 5
-- entry, 6 app and month of a statement ('': none is written), 7 statement, 8 the expected
-- revision, 9 number of an entry that the caller has observed (0: none), 10 its hash ('': not
-- available).
-- Result: 1; 0 on a conflict; 2 if another entry was logged meanwhile; 3 if the entry that the
-- caller has observed is lost.
-- include mark
-- include now
local length, seen = redis.call('LLEN', KEYS[3]), tonumber(ARGV[9])
if length < seen then return 3 end
if seen > 0 and ARGV[10] ~= '' then
  local entry = redis.call('LRANGE', KEYS[3], seen - 1, seen - 1)[1]
  if not string.find(entry, '"hash":"' .. ARGV[10] .. '"', 1, true) then return 3 end
end
if ARGV[1] ~= '' then
-- include skew
  local there = redis.call('HGET', KEYS[1], ARGV[1])
  local revision = there and tonumber(string.match(there, '^%d+')) or 0
  if revision ~= tonumber(ARGV[8]) then return 0 end
end
if length ~= tonumber(ARGV[4]) then return 2 end
redis.call('RPUSH', KEYS[3], ARGV[5])
if ARGV[1] ~= '' then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[3])
  redis.call('ZADD', KEYS[2], 0, ARGV[1])
  if redis.call('HDEL', KEYS[5], ARGV[1]) == 1 then redis.call('HINCRBY', KEYS[5], '#', -1) end
end
if ARGV[6] ~= '' then redis.call('HSET', KEYS[4], ARGV[6], ARGV[7]) end
return 1
