-- Returns whether risen (warn.lua) has nothing to write for a count that grows by one: no threshold
-- is crossed, and the reported one stays. Needs no other part.
local function stays(what, before, most)
  local after = before + 1
  if after * 100 < most * 65 then return true end
  local standing = tonumber(redis.call('HGET', KEYS[#KEYS - 1], what) or 0)
  local percent = after * 100 / most
  local reached = percent >= 100 and 100 or percent >= 90 and 90 or percent >= 70 and 70 or 0
  return standing >= reached and (standing == 0 or before * 100 >= most * (standing - 5))
end
