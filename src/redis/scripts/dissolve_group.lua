#!lua flags=allow-oom
-- Removes members from a group that no user can join any more, and returns up to 100 that remain;
-- with the last one the group is deleted. Another dissolve may continue it at any point.
-- The record is '!CLAIM TYPE' meanwhile, with the claim of the dissolve that came last. Only that
-- one is applied, also if a creation, a leave or another dissolve deletes the group. The last
-- claims that were replaced are in the field 'overtaken' of KEYS[#KEYS - 1] (2048 bytes).
-- KEYS: 1 limits, 2 group, 3 its members, 4 groups by type, 5 by day, then each user's two cells.
-- ARGV: 4 types, 5 group, 6 '': the first step; a CLAIM: a later step of the dissolve that has it;
-- 'help': a creation finishes an interrupted dissolve. Only the first step begins a dissolve. 7
-- days, 8.. users.
-- Result: N no such group, A deleted, M members remain; how many were released, who remains, the
-- claim, and 1 if another dissolve has replaced it.
-- include begin
-- include due_here
-- include verdicts
-- include holds
-- include types
-- include days
-- include totals
-- include groups
-- include track
if tracks() then track({ARGV[5]}) end
local leaving, claim, name = read_group(KEYS[2])
local mine, is_first, warned = ARGV[6], ARGV[6] == '', KEYS[#KEYS - 1]
local overtaken = redis.call('HGET', warned, 'overtaken') or ' '
local is_overtaken = string.find(overtaken, ' ' .. mine .. ' ', 1, true) and 1 or 0
if not name or (not is_first and leaving == '') then
  say('N')
  return answer(0, {}, mine, is_overtaken)
end
count_write()
if is_first then
  mine = now .. '-' .. writes
  settle('z' .. ARGV[5], 'o')
  if leaving == '!' then
    redis.call('HSET', warned, 'overtaken', string.sub(overtaken .. claim .. ' ', -2048))
  end
end
local released = 0
for i = 8, #ARGV do
  local held = redis.call('SREM', KEYS[3], ARGV[i])
  if held == 1 and redis.call('SREM', KEYS[2 * i - 10], ARGV[5]) == 0 then
    redis.call('SREM', KEYS[2 * i - 9], ARGV[5])
  end
  if held == 1 then settle('m' .. ARGV[5] .. ' ' .. ARGV[i], 'o') end
  released = released + held
end
count_write(-released)
local left = redis.call('SRANDMEMBER', KEYS[3], 100)
if #left == 0 then
  remove_group(KEYS[2], name, ARGV[5])
elseif is_first then
  redis.call('SET', KEYS[2], '!' .. mine .. ' ' .. name)
end
write_holds()
say(#left == 0 and 'A' or 'M')
return answer(released, left, mine, is_overtaken)
