#!lua
-- Appends events and moves a cursor, both or neither. The oldest events beyond the most are dropped.
-- KEYS: 1 events by number, 2 cursors. ARGV: 1 most kept, 2 cursor ('': none), 3 where it is
-- expected ('': never set), 4 where it goes, 5 another cursor ('': none), 6 where that is
-- expected, 7.. events.
-- Answer: 1; 0 where a cursor is elsewhere. Numbers count from 1 without gaps.
-- include mark
-- include now
if ARGV[2] ~= '' then
-- include skew
end
for i = 2, 5, 3 do
  local expected = ARGV[i == 2 and 3 or 6]
  if ARGV[i] ~= '' and (redis.call('HGET', KEYS[2], ARGV[i]) or '') ~= expected then return 0 end
end
local ends = redis.call('HMGET', KEYS[2], 'oldest', 'head')
local oldest, head = tonumber(ends[1] or 1), tonumber(ends[2] or 0)
for i = 7, #ARGV do
  head = head + 1
  redis.call('HSET', KEYS[1], string.format('%d', head), ARGV[i])
end
while head - oldest >= tonumber(ARGV[1]) do
  redis.call('HDEL', KEYS[1], string.format('%d', oldest))
  oldest = oldest + 1
end
redis.call('HSET', KEYS[2], 'oldest', string.format('%d', oldest))
redis.call('HSET', KEYS[2], 'head', string.format('%d', head))
if ARGV[2] ~= '' then redis.call('HSET', KEYS[2], ARGV[2], ARGV[4]) end
return 1
