-- The numbers of the events that are kept, as a tree of nodes in the hash KEYS[3]. A node has a
-- digit for each of 256 children that says what is kept there: 0 nothing, 1 changes, 2 limit
-- events, 3 both. On the lowest level a child is a number. The next kept number is found in a few
-- steps, however many between were dropped, and each costs a byte.
local nothing, levels, fields = string.rep('0', 256), 7, {}
-- Returns a field of the index, read once; false if there is none.
local function get(field)
  if fields[field] == nil then fields[field] = redis.call('HGET', KEYS[3], field) end
  return fields[field]
end
local function node(level, id)
  local field = string.format('%d/%d', level, id)
  return get(field) or nothing, field
end
-- Returns the first kept number after a number with one of the digits; nil if there is none.
local function kept_after(number, digits)
  local id = number
  for level = 0, levels - 1 do
    local child = id % 256
    id = (id - child) / 256
    local at = string.find(node(level, id), digits, child + 2)
    if at then
      id = id * 256 + at - 1
      for lower = level - 1, 0, -1 do
        id = id * 256 + string.find(node(lower, id), digits) - 1
      end
      return id
    end
  end
end
