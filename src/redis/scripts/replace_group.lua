#!lua
-- Creates a group from a held one, which it replaces with its members, and adds owner and members.
-- KEYS: 1 limits, 2 the held group, 3 its members, 4 groups by type, 5 by day, 6 the new group, 7
-- its members, then the two cells of each user of the request, and of each present member.
-- ARGV: 4 types, 5 held group, 6 '0', 7 days, 8 own limit, 9 new group, 10 type, 11 whether the
-- first user is the owner (0, 1), 12 the new group's id, 13 how many users the request has, 14..
-- these, then the present members. Result: as create_group.lua.
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
local first, first_key, last = 14, 8, 13 + ARGV[13]
local present = redis.call('SCARD', KEYS[3])
if not name or leaving == '!' or redis.call('EXISTS', KEYS[6]) == 1 then
  return {now, 'not_replaced'}
end
if expiry == '' then return {now, 'cannot_replace', 'not_held'} end
if name ~= ARGV[10] then return {now, 'cannot_replace', 'type'} end
if present > 500 then return {now, 'cannot_replace', 'members'} end
local moved = {unpack(ARGV, last + 1)}
for _, is in ipairs(#moved > 0 and redis.call('SMISMEMBER', KEYS[3], unpack(moved)) or {}) do
  present = present - is
end
if present ~= 0 then return {now, 'changed'} end
local exists_already, is_held, joins, rises = true, true, false, {}
own = ARGV[8] == '-' and own or ARGV[8]
-- include new_group
if said[1] == 'D' and not is_whole then return answer(name, own) end
if aborts(true) then return answer(name, own) end
said[1] = (said[1] == 'G' or said[1] == 'Q') and 'S' or 'A'
local new_facts = #new
-- include within_bounds
if mode == 'C' then return answer(name, own, 0, '') end
-- include rename_group
write_members(kind)
count_write()
rename()
if tracks() then track({ARGV[5], ARGV[9]}) end
return answer(name, own, 0, '')
