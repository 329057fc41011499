#!lua
-- Repairs a group, without its members.
-- KEYS: 1 limits, 2 group, 3 its members, 4 groups by type. ARGV: 4 since, 5 group, 6 type ('': it
-- should not exist), 7 days, 8 own limit ('': not compared, '-': none).
-- A group that is created by a repair is no net-new group of today.
-- Result: also the difference: nothing, here, there, type, own. A group that has members is kept.
-- include begin
-- include due_here
-- include held
-- include verdicts
-- include types
-- include days
-- include totals
-- include repair
local function count_group(name, step)
  redis.call('HINCRBY', KEYS[4], name, step)
  note_total(step, 0)
  count_write(step)
end
local leaving, own, name, expiry = read_group(KEYS[2])
local wanted, wanted_own = ARGV[6], ARGV[8]
local was_changed = (name and expiry ~= '') or tracks and changed(ARGV[5])
if wanted == '' and name then
  local has_members = mode ~= 'C' and redis.call('SCARD', KEYS[3]) > 0
  if repairs(was_changed or has_members) then
    redis.call('DEL', KEYS[2])
    redis.call('HDEL', KEYS[#KEYS - 1], 'm' .. ARGV[5])
    count_group(name, -1)
  end
  return answer('there')
end
if wanted ~= '' and not name then
  if repairs(was_changed) then
    redis.call('SET', KEYS[2], (wanted_own == '' and '-' or wanted_own) .. ' ' .. wanted)
    count_group(wanted, 1)
  end
  return answer('here')
end
if wanted == '' or (name == wanted and leaving == '' and (wanted_own == '' or wanted_own == own))
then
  say('H')
  return answer('nothing')
end
if leaving == '!' then
  -- A creation of that id finishes its dissolve first.
  say('L')
  return answer('here')
end
if name ~= wanted then
  say(was_changed and 'L' or 'F')
  return answer('type')
end
if repairs(was_changed) then
  redis.call('SET', KEYS[2], wanted_own .. ' ' .. name)
  count_write()
end
return answer('own')
