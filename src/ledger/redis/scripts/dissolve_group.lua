#!lua flags=allow-oom
-- Takes members out of a group that nobody can join any more, and names up to 256 that are left;
-- with the last one the group is gone. May be resumed at any point by another dissolution.
-- KEYS: 1 limits, 2 group, 3 its members, 4 groups by type, 5 by day, then each user's two cells.
-- ARGV: 4 types, 5 group, 6 '1': it was begun before, and a new group of this id is left alone,
-- 7 days, 8.. users.
-- Answer: N no such group, A gone, M members are left; how many were released, who is left.
-- include begin
-- include verdicts
-- include types
-- include days
-- include totals
-- include groups
-- include track
if tracks() then track({ARGV[5]}) end
local leaving, own, name = read_group(KEYS[2])
if not name or (ARGV[6] == '1' and leaving == '') then
  say('N')
  return answer(0, {})
end
count_write()
local released = 0
for i = 8, #ARGV do
  local held = redis.call('SREM', KEYS[3], ARGV[i])
  if held == 1 and redis.call('SREM', KEYS[2 * i - 10], ARGV[5]) == 0 then
    redis.call('SREM', KEYS[2 * i - 9], ARGV[5])
  end
  released = released + held
end
local left = redis.call('SRANDMEMBER', KEYS[3], 256)
if #left == 0 then
  remove_group(KEYS[2], name, ARGV[5])
elseif leaving == '' then
  redis.call('SET', KEYS[2], '!' .. own .. ' ' .. name)
end
say(#left == 0 and 'A' or 'M')
return answer(released, left)
