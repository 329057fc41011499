#!lua flags=allow-oom
-- Removes members and groups that have expired, or whose hold is released; a group comes behind its
-- members. A group whose last member goes is reclaimed if its type says so.
-- KEYS: 1 limits, 2 and 3 as 4 and 5, 4 groups by type, 5 by day, then of each fact the group, its
-- members, and the user's two cells. ARGV: 4 types, 5-6 end_hold.lua, 7 days, 8 as ARGV[7] of
-- end_hold.lua, then each fact and its index.
-- include begin
-- include verdicts
-- include holds
-- include types
-- include days
-- include totals
-- include groups
-- include track
table.remove(ARGV, 7)
-- include end_hold
local removed, emptied, members_left = {}, {}, 0
local function remove_member(group, user, first)
  if redis.call('SREM', KEYS[first + 1], user) == 0 then return end
  if redis.call('SREM', KEYS[first + 2], group) == 0 then
    redis.call('SREM', KEYS[first + 3], group)
  end
  members_left, removed[#removed + 1] = members_left + 1, group .. ' ' .. user
  emptied[group] = first
end
local function end_group(group, first)
  local leaving, own, name = read_group(KEYS[first])
  if not name or leaving == '!' then return end
  if redis.call('SCARD', KEYS[first + 1]) > 0 then
    return keep_group(KEYS[first], name, own, group)
  end
  remove_group(KEYS[first], name, group)
  removed[#removed + 1] = group
end
for i = 8, #ARGV, 2 do
  local first, of, group, user = 2 * i - 10, string.match(ARGV[i], '^(%a)(%S+) ?(%S*)$')
  if ends(ARGV[i], ARGV[i + 1]) then
    if of == 'm' then remove_member(group, user, first) else end_group(group, first) end
  elseif of == 'z' then
    -- It is held by other holds, perhaps not for as long.
    local _, own_limit, name, expiry = read_group(KEYS[first])
    local score = name and expiry ~= '' and redis.call('ZSCORE', expiry_key, ARGV[i])
    if score then redis.call('SET', KEYS[first], own_limit .. ' ' .. name .. '@' .. score) end
  end
end
-- include reclaim_emptied
count_write(-members_left)
write_end()
if tracks() then track(removed) end
return answer(#removed)
