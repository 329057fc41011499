#!lua flags=allow-oom
-- Ends friendships of a user who is deleted, and returns up to 256 that remain.
-- KEYS: 1 limits, 2 list of the user, 3 the user's fans, then each other's list and fans.
-- ARGV: 4 user, 5 '1': nothing is ended unless all others are named; 6.. others.
-- include begin
-- include due_here
-- include verdicts
-- include holds
-- include left
-- include track
local me, named, ended, places = ARGV[4], 0, 0, 0
for i = 6, #ARGV do
  named = named + redis.call('SISMEMBER', KEYS[2], ARGV[i])
    + redis.call('SISMEMBER', KEYS[3], ARGV[i])
end
if ARGV[5] == '0' or named == redis.call('SCARD', KEYS[2]) + redis.call('SCARD', KEYS[3]) then
  for i = 6, #ARGV do
    local other, list, fans = ARGV[i], KEYS[2 * i - 8], KEYS[2 * i - 7]
    local left = redis.call('SREM', KEYS[2], other) + redis.call('SREM', list, me)
    settle(me .. ' ' .. other, 'o')
    settle(other .. ' ' .. me, 'o')
    ended = ended + left + redis.call('SREM', KEYS[3], other) + redis.call('SREM', fans, me)
    places = places + left
  end
end
if ended > 0 then
  count_write(-places)
  write_holds()
end
redis.call('HDEL', KEYS[#KEYS - 1], 'f' .. me, 'xf' .. me)
if tracks() then track({'d' .. me}) end
say(ended > 0 and 'A' or 'N')
return answer(left_of(KEYS[2], KEYS[3]))
