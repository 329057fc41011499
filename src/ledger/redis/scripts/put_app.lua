#!lua
-- Writes an app's document whose revision follows the one that is there.
-- KEYS: 1 documents, 2 index. ARGV: 1 app, 2 revision, 3 document. Answer: 1, or 0 on a conflict.
local there = redis.call('HGET', KEYS[1], ARGV[1])
local revision = there and tonumber(string.match(there, '^%d+')) or 0
if revision + 1 ~= tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[3])
redis.call('ZADD', KEYS[2], 0, ARGV[1])
return 1
