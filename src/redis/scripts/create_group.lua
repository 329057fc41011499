#!lua
-- Creates a group with its owner and members, or adds them if it exists.
-- KEYS: 1 limits, 2 group, 3 its members, 4 groups by type, 5 by day, then each user's two cells.
-- ARGV: 4 types, 5 group, 6 position of the step (generation.lua), 7 days, 8 own limit, 9 net-new
-- groups of a day, 10 type, 11 whether the first user is the owner (0, 1), 12.. users.
-- Result: first letter for the whole, also type, own limit, members so far (dry run), generation.
-- include begin
-- include verdicts
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
local leaving, own, name = read_group(KEYS[2])
if leaving == '!' then return {now, 'dissolving'} end
if name and name ~= ARGV[10] then return {now, 'type_differs', name} end
local exists, first, rises = name ~= nil, ARGV[11] == '1' and 13 or 12, {}
name, own = ARGV[10], own or ARGV[8]
most, used = math.min(kind.cap, per_group, limit(own)), redis.call('SCARD', KEYS[3]) + taken_before
local function too_many(letter, of, count, at_most)
  count = tonumber(count or 0)
  rises[#rises + 1] = {letter .. of, count, count + 1, at_most}
  return count >= at_most and letter .. count or ''
end
if exists and first == 13 and kind.tracked then
  take_in(kind, ARGV[12], 6, redis.call('SISMEMBER', KEYS[3], ARGV[12]))
  if said[1] ~= 'D' then said[1] = said[1] == 'S' and 'G' or 'H' end
elseif exists then say('H')
else
-- include one_day
  local free, at_once = sold('*'), math.min(kind.per_app, sold(name))
  local note = too_many('g', name, redis.call('HGET', KEYS[4], name), at_once)
    .. (free < math.huge and too_many('n', '', total_groups(), free) or '')
    .. too_many('t', name, redis.call('HGET', KEYS[5], day .. '/' .. name), kind.per_day)
    .. too_many('d', '', redis.call('HGET', KEYS[5], day), limit(ARGV[9]))
  local own_note, groups = '', 0
  if first == 13 then own_note, groups = in_the_way(kind, 6) end
  if judge(note .. own_note) and first == 13 then plan(kind, ARGV[12], 6, groups) end
end
local adds_owner = #new > 0
if said[1] == 'D' and not is_whole then return answer(name, own) end
for i = first, #ARGV do
  take_in(kind, ARGV[i], 2 * i - 18, redis.call('SISMEMBER', KEYS[3], ARGV[i]))
end
if aborts(adds_owner) then return answer(name, own) end
if exceeds_facts(#new + (exists and 0 or 1)) then return {now, 'facts_full'} end
if mode ~= 'C' and not exists then
  redis.call('SET', KEYS[2], own .. ' ' .. name)
  count_group(name, 1)
  for _, rise in ipairs(rises) do risen(unpack(rise)) end
end
local taken = used - redis.call('SCARD', KEYS[3])
write_members(kind)
if mode ~= 'C' and tracks() then track({ARGV[5]}) end
return answer(name, own, taken, generation(true))
