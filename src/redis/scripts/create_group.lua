#!lua
-- Creates a group with its owner and members, or adds them if it exists.
-- KEYS: 1 limits, 2 group, 3 its members, 4 groups by type, 5 by day, then each user's two cells.
-- ARGV: 4 types, 5 group, 6 position of the step (generation.lua), 7 days, 8 own limit ('joins':
-- the group must exist, and is only joined), 9 net-new groups of a day, 10 type, 11 whether the
-- first user is the owner (0, 1), 12.. users.
-- Result: first letter for the whole, also type, own limit, members so far (dry run), generation.
-- include begin
-- include due
-- include verdicts
-- include take_hold
-- include types
-- include warn
-- include members
-- include days
-- include totals
-- include groups
-- include sold
-- include track
local kind = rules(ARGV[4], ARGV[10])
if not kind then return {now, 'type_unknown', ARGV[10]} end
local leaving, own, name, expiry = read_group(KEYS[2])
local joins, is_held = ARGV[8] == 'joins', name and expiry ~= ''
if joins and (not name or leaving == '!') then return {now, 'group_not_found'} end
if leaving == '!' then return {now, 'dissolving'} end
if name and name ~= ARGV[10] then return {now, 'type_differs', name} end
local exists_already, rises, first, first_key, last = name ~= nil, {}, 12, 6, #ARGV
name, own = ARGV[10], own or ARGV[8]
-- include new_group
if said[1] == 'D' and not is_whole then
  -- Nothing is taken anew, and the record is kept from now on.
  if how == 'R' then write_take(states) end
  return answer(name, own)
end
if aborts(adds_owner) then return answer(name, own, 0, '') end
local new_facts = #new + (exists_already and 0 or 1)
-- include within_bounds
if mode ~= 'C' and not exists_already then
  redis.call('SET', KEYS[2], own .. ' ' .. name)
  count_group(name, 1, how == 'T' and day)
  for _, rise in ipairs(rises) do risen(unpack(rise)) end
end
local taken_now = used - redis.call('SCARD', KEYS[3])
write_members(kind)
if mode ~= 'C' then write_group_hold() end
if mode ~= 'C' and tracks() then track({ARGV[5]}) end
return answer(name, own, taken_now, generation(true))
