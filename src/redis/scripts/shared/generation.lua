-- The group's generation: which of the successive groups with the id ARGV[5] it is. The first of
-- several steps gives it to a group, and the later ones compare it, so that they do not continue
-- with a group that was created meanwhile. A group without one has generation 0.
-- It is in the hash KEYS[#KEYS - 1] behind the reported threshold ('m' and the group), as decimals
-- too small to change that number: 'STANDING.' .. zeros .. GENERATION. So the scripts of the
-- previous version read the number as before, and drop the field with the group.
-- ARGV[6]: 'TAKEN', members taken before (dry run), in an only step, or one that writes nothing;
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
  -- No two steps of a part have the same number; after lost writes the time differs.
  found = string.format('%d%06d', now, writes % 1000000)
  standing = standing .. '.' .. string.rep('0', 20) .. found
  redis.call('HSET', KEYS[#KEYS - 1], 'm' .. ARGV[5], standing)
  return found
end
