-- Returns the limit of a group type that is sold by number, or of all types ('*').
local function sold(name)
  local _, at = string.find(limits, ' ' .. name .. '=', 1, true)
  return limit(at and string.match(limits, '^%S+', at + 1) or '-')
end
