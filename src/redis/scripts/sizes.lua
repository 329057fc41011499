#!lua flags=no-writes
-- Returns the sizes of sets or groups. KEYS, at most 256: the sets; or each group and then its
-- members. ARGV: 1 'sets' or 'groups'. Result, in the order of KEYS: the number of elements of each
-- set; or type, own limit and number of members of each group, and nothing for one that is deleted,
-- being dissolved or expired.
-- include mark
-- include now
-- include types
local sizes = {}
if ARGV[1] == 'sets' then
  for i, key in ipairs(KEYS) do sizes[i] = redis.call('SCARD', key) end
  return sizes
end
for i = 1, #KEYS, 2 do
  local leaving, own, name, expiry = read_group(KEYS[i])
  local until_then = expiry and tonumber(string.sub(expiry, 2)) or math.huge
  local lives = name and leaving == '' and until_then > now
  sizes[#sizes + 1] = lives and {name, own, redis.call('SCARD', KEYS[i + 1])} or {}
end
return sizes
