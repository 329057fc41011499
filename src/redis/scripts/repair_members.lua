#!lua
-- Adds missing members to a group, or removes those that should not be there.
-- KEYS: 1 limits, 2 group, 3 its members, then each user's two cells.
-- ARGV: 4 since, 5 group, 6 whether they are members (0, 1), 7 whether the type counts for the user
-- (0, 1), 8.. users. No user is added to a group that does not exist, or is being dissolved.
-- include begin
-- include due_here
-- include held
-- include verdicts
-- include types
-- include repair
local group, are, counts = ARGV[5], ARGV[6] == '1', ARGV[7] == '1'
local leaving, own, name, expiry = read_group(KEYS[2])
local closed = are and (leaving == '!' or (mode ~= 'C' and not name))
local left_alone = closed or (are and name and expiry ~= '') or tracks and changed(group)
local new = {}
local held = redis.call('SMISMEMBER', KEYS[3], unpack(ARGV, 8))
for i = 8, #ARGV do
  local user, counted, other = ARGV[i], KEYS[2 * i - 12], KEYS[2 * i - 11]
  if (held[i - 7] == 1) == are then
    say('H')
  elseif repairs(left_alone or is_held('m' .. group .. ' ' .. user)
    or tracks and changed(group .. ' ' .. user, 'd' .. user))
  then
    new[#new + 1] = user
    if are then
      redis.call('SADD', counts and counted or other, group)
    elseif redis.call('SREM', counted, group) == 0 then
      redis.call('SREM', other, group)
    end
  end
end
if #new > 0 then
  redis.call(are and 'SADD' or 'SREM', KEYS[3], unpack(new))
  count_write(are and #new or -#new)
end
return answer()
