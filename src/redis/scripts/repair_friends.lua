#!lua
-- Adds missing friends to the user's list, or removes those that should not be there.
-- KEYS: 1 limits, 2 list of the user, 3 the user's fans, then each friend's list and fans.
-- ARGV: 4 since, 5 user, 6 whether they are friends (0, 1), 7.. friends.
-- Invariant: a user's fans are those who have the user in their lists and are not in the user's.
-- include begin
-- include due_here
-- include held
-- include verdicts
-- include repair
local me, are, new = ARGV[5], ARGV[6] == '1', {}
local function put(key, element, is) redis.call(is and 'SADD' or 'SREM', key, element) end
local held = redis.call('SMISMEMBER', KEYS[2], unpack(ARGV, 7))
for i = 7, #ARGV do
  local friend = ARGV[i]
  if (held[i - 6] == 1) == are then
    say('H')
  elseif repairs(is_held(me .. ' ' .. friend)
    or tracks and changed(me .. ' ' .. friend, 'd' .. me, 'd' .. friend))
  then
    new[#new + 1] = friend
    if redis.call('SISMEMBER', KEYS[2 * i - 10], me) == 1 then
      put(KEYS[3], friend, not are)
    else
      put(KEYS[2 * i - 9], me, are)
    end
  end
end
if #new > 0 then
  redis.call(are and 'SADD' or 'SREM', KEYS[2], unpack(new))
  count_write(are and #new or -#new)
end
return answer()
