-- Comparing with a database. ARGV[4]: since when changes have to be tracked; '': nothing is asked.
-- Mode C only compares, any other repairs.
-- Letters, one a fact: H as it should be, F found, R repaired, L left alone.
local tracks, tracked = ARGV[4] ~= '', KEYS[#KEYS]
if tracks and redis.call('SISMEMBER', tracked, 'since ' .. ARGV[4]) == 0 then
  return {now, 'not_since'}
end
-- Whether any of these facts was changed since; to be asked where changes are tracked.
local function changed(...)
  for _, found in ipairs(redis.call('SMISMEMBER', tracked, ...)) do
    if found == 1 then return true end
  end
  return false
end
-- Says what becomes of a difference; whether it is to be repaired.
local function repairs(left_alone)
  say(left_alone and 'L' or (mode == 'C' and 'F' or 'R'))
  return mode ~= 'C' and not left_alone
end
