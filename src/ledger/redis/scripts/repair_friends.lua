#!lua
-- Adds friends to the user's list that are missing, or removes those that should not be there.
-- KEYS: 1 limits, 2 list of the user, 3 his fans, then each friend's list and fans.
-- ARGV: 4 since, 5 user, 6 whether they are friends (0, 1), 7.. friends.
-- Invariant: the fans of a user are those who have him in their lists and are not in his.
-- include begin
-- include repair
local me, are = ARGV[5], ARGV[6] == '1'
local function put(key, element, is) redis.call(is and 'SADD' or 'SREM', key, element) end
for i = 7, #ARGV do
  local friend, list, fans = ARGV[i], KEYS[2 * i - 10], KEYS[2 * i - 9]
  if (redis.call('SISMEMBER', KEYS[2], friend) == 1) == are then
    say('H')
  elseif repairs(changed(me .. ' ' .. friend, 'd' .. me, 'd' .. friend)) then
    put(KEYS[2], friend, are)
    if redis.call('SISMEMBER', list, me) == 1 then
      put(KEYS[3], friend, not are)
    else
      put(fans, me, are)
    end
  end
end
return answer()
