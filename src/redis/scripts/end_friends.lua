#!lua flags=allow-oom
-- Removes friendships that have expired, or whose hold is released: one side each.
-- KEYS: 1 limits, then of each fact the list and fans of the user, and list and fans of the friend.
-- ARGV: 4 '', 5-7 end_hold.lua, then each fact and its index.
-- include begin
-- include verdicts
-- include holds
-- include track
-- include end_hold
local removed = {}
for i = 8, #ARGV, 2 do
  local fact, first = ARGV[i], 2 * i - 14
  local me, friend = string.match(fact, '^(%S+) (%S+)$')
  if ends(fact, ARGV[i + 1]) and redis.call('SREM', KEYS[first], friend) == 1 then
    if redis.call('SISMEMBER', KEYS[first + 2], me) == 1 then
      redis.call('SADD', KEYS[first + 1], friend)
    else
      redis.call('SREM', KEYS[first + 3], me)
    end
    removed[#removed + 1] = fact
  end
end
count_write(-#removed)
write_end()
if tracks() then track(removed) end
return answer(#removed)
