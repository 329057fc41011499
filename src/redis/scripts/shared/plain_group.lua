-- Reads a group's record for plain_join.lua: its own limit, its type, and how many members it may
-- have; most is nil if there is no group, if it is being dissolved, or if the members of its type
-- are not tracked. Needs: record, per_group (a text). ARGV: 4 types.
local own, name = string.match(record, '^([^!]%S*) (.*)$')
local _, found = string.find(ARGV[4], ';' .. (name or '') .. ' ', 1, true)
local most, is_counted
if found then
  local cap, tracked, counts = string.match(ARGV[4], '^(%S+) (%d) (%d)', found + 1)
  if tracked == '1' then
    local huge, sold = math.huge, per_group
    if flag == '2' then
      local _, at = string.find(limits, ' m/' .. name .. '=', 1, true)
      if at then sold = string.match(limits, '^%S+', at + 1) end
    end
    most = math.min(tonumber(cap) or huge, tonumber(sold) or huge, tonumber(own) or huge)
    is_counted = counts == '1'
  end
end
