-- Returns a limit on groups that is sold: at once, of a type (NAME), of all types ('e/'), or beyond
-- those free of charge ('*'); net-new of a day, of a type ('t/NAME') or of all types ('d/').
local function sold(name)
  local _, at = string.find(limits, ' ' .. name .. '=', 1, true)
  return limit(at and string.match(limits, '^%S+', at + 1) or '-')
end
