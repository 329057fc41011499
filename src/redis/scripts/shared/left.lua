-- Returns up to 256 elements of two disjoint sets.
local function left_of(one, other)
  local left = redis.call('SRANDMEMBER', one, 256)
  if #left < 256 then
    for _, element in ipairs(redis.call('SRANDMEMBER', other, 256 - #left)) do
      left[#left + 1] = element
    end
  end
  return left
end
