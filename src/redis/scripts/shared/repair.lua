-- Comparison with a database. ARGV[4]: the time since when changes must be tracked; '': any.
-- Mode C only compares, any other repairs.
-- Letters, one per fact: H as it should be, F found, R repaired, L left alone.
local tracks, tracked = ARGV[4] ~= '', KEYS[#KEYS]
if tracks and redis.call('SISMEMBER', tracked, 'since ' .. ARGV[4]) == 0 then
  return {now, 'not_since'}
end
-- Returns whether any of these facts was changed since; only if changes are tracked.
local function changed(...)
  for _, found in ipairs(redis.call('SMISMEMBER', tracked, ...)) do
    if found == 1 then return true end
  end
  return false
end
-- Records the letter of a difference; returns whether it is to be repaired.
local function repairs(left_alone)
  say(left_alone and 'L' or (mode == 'C' and 'F' or 'R'))
  return mode ~= 'C' and not left_alone
end
