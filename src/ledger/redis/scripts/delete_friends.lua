#!lua flags=allow-oom
-- Ends friendships of a user that is deleted, and names up to 256 that are left.
-- KEYS: 1 limits, 2 list of the user, 3 his fans, then each other's list and fans.
-- ARGV: 4 user, 5.. others.
-- include begin
local me, ended = ARGV[4], 0
for i = 5, #ARGV do
  local other, list, fans = ARGV[i], KEYS[2 * i - 6], KEYS[2 * i - 5]
  ended = ended + redis.call('SREM', KEYS[2], other) + redis.call('SREM', KEYS[3], other)
    + redis.call('SREM', list, me) + redis.call('SREM', fans, me)
end
say(ended > 0 and 'A' or 'N')
local left = redis.call('SRANDMEMBER', KEYS[2], 256)
if #left == 0 then left = redis.call('SRANDMEMBER', KEYS[3], 256) end
return answer(left)
