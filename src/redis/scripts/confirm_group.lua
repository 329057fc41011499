#!lua flags=allow-oom
-- Confirms a hold of a group and of members. KEYS: 1 limits, 2 group, 3 its members, 4 groups by
-- type, 5 by day. ARGV: 4, 5, 8.. confirm.lua, 6 group, 7 days. Result: also the hold's states.
-- include begin
-- include verdicts
-- include holds
-- include types
-- include days
-- include totals
-- include groups
-- include track
-- include confirm
local confirmed = {}
for i = 8, #ARGV do
  local of, group, user = string.match(ARGV[i], '^(%a)(%S+) ?(%S*)$')
  -- A member who is confirmed makes the group of a join permanent.
  local is_group_of_join = i == 8 and string.sub(id, 1, 1) == 'J'
  if not is_group_of_join and confirm(ARGV[i], i - 7) then
    confirmed[#confirmed + 1] = of == 'm' and group .. ' ' .. user or group
  end
end
local leaving, own_limit, name, expiry = read_group(KEYS[2])
if #confirmed > 0 and name and expiry ~= '' then keep_group(KEYS[2], name, own_limit, ARGV[6]) end
write_confirmation()
if tracks() then track(confirmed) end
say('A')
return answer(own.states)
