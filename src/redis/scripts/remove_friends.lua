#!lua flags=allow-oom
-- Removes friends from the user's list and, unless one way, the user from theirs.
-- KEYS: 1 limits, 2 list of the user, 3 the user's fans, then each friend's list and fans.
-- ARGV: 4 one way (0, 1), 5 user, 6.. friends.
-- Invariant: a user's fans are those who have the user in their lists and are not in the user's.
-- include begin
-- include due_here
-- include verdicts
-- include holds
-- include track
local one_way, me, places = ARGV[4] == '1', ARGV[5], 0
for i = 6, #ARGV do
  local friend, list, fans = ARGV[i], KEYS[2 * i - 8], KEYS[2 * i - 7]
  local had = redis.call('SREM', KEYS[2], friend) == 1
  if had then settle(me .. ' ' .. friend, 'o') end
  local has_me = redis.call('SISMEMBER', list, me) == 1
  if has_me and not one_way then
    redis.call('SREM', list, me)
    redis.call('SREM', KEYS[3], friend)
    settle(friend .. ' ' .. me, 'o')
  elseif has_me and had then
    redis.call('SADD', KEYS[3], friend)
  end
  if had and not has_me then redis.call('SREM', fans, me) end
  places = places + (had and 1 or 0) + (has_me and not one_way and 1 or 0)
  say((had or (has_me and not one_way)) and 'A' or 'N')
end
if places > 0 then
  count_write(-places)
  write_holds()
end
if tracks() then
  track(allowed(6, me .. ' ', ''))
  if not one_way then track(allowed(6, '', ' ' .. me)) end
end
return answer()
