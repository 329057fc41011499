-- Which of the groups that have the id ARGV[5] one after another it is: the group's generation. It
-- is given to a group by the first of several steps, and compared by the later ones, so that they
-- do not go on with a group that was created meanwhile. A group that has none is generation 0.
-- It stands in the hash KEYS[#KEYS - 1] behind the threshold that was warned of ('m' and the
-- group), as decimals too small to change that number: 'STANDING.' .. zeros .. GENERATION. So the
-- scripts of the version before read the number as ever, and drop the field with the group.
-- ARGV[6]: 'TAKEN', members taken before (check only), in an only step, or one that writes nothing;
-- 'TAKEN +' in the first of several; 'TAKEN GENERATION' in a later one. Needs verdicts.lua.
local taken_before, wanted = string.match(ARGV[6], '^(%d+) ?(.*)$')
local is_later = wanted ~= '' and wanted ~= '+'
local function generation(exists)
  if wanted == '' then return '' end
  if not exists then return 'none' end
  local standing = redis.call('HGET', KEYS[#KEYS - 1], 'm' .. ARGV[5]) or '0'
  local found = string.match(standing, '%.0+(%d+)$')
  if found or is_later then return found or '0' end
  count_write()
  -- No two steps of a part have the same number; after a lost tail of writes the time differs.
  found = string.format('%d%06d', now, writes % 1000000)
  standing = standing .. '.' .. string.rep('0', 20) .. found
  redis.call('HSET', KEYS[#KEYS - 1], 'm' .. ARGV[5], standing)
  return found
end
