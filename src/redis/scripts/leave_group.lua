#!lua flags=allow-oom
-- Removes users from a group; a group whose last member left is reclaimed if its type says so.
-- KEYS: 1 limits, 2 group, 3 its members, 4 groups by type, 5 by day, then each user's two cells.
-- ARGV: 4 types, 5 group, 6 position of the step (see generation.lua), 7 days, 8.. users. No user
-- is removed from a group that was created after the first step: they left the one before with its
-- dissolve.
-- Result: also whether it was reclaimed, and the group's generation.
-- include begin
-- include due_here
-- include verdicts
-- include holds
-- include types
-- include days
-- include totals
-- include groups
-- include track
-- include generation
local leaving, own, name = read_group(KEYS[2])
local its_generation = generation(name)
local is_replaced = is_later and its_generation ~= wanted
local out = 0
for i = 8, #ARGV do
  local held = is_replaced and 0 or redis.call('SREM', KEYS[3], ARGV[i])
  if held == 1 and redis.call('SREM', KEYS[2 * i - 10], ARGV[5]) == 0 then
    redis.call('SREM', KEYS[2 * i - 9], ARGV[5])
  end
  if held == 1 then settle('m' .. ARGV[5] .. ' ' .. ARGV[i], 'o') end
  out = out + held
  say(held == 1 and 'A' or 'N')
end
if out > 0 then
  count_write(-out)
end
local reclaimed, kind = 0, name and rules(ARGV[4], name)
if name and out > 0 and redis.call('SCARD', KEYS[3]) == 0 then
  if leaving == '!' or (kind and kind.reclaim) then
    remove_group(KEYS[2], name, ARGV[5])
    reclaimed = 1
  end
end
write_holds()
if (not kind or kind.tracked) and tracks() then
  track(allowed(8, ARGV[5] .. ' ', ''))
  if reclaimed == 1 then track({ARGV[5]}) end
end
return answer(reclaimed, its_generation)
