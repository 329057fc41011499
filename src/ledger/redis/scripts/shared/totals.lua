-- The number of groups over a day: KEYS[4] has the groups by type, KEYS[#KEYS - 2] by day
-- 'START PEAK END'.
local figures_days_kept = 400
-- To be called after the number has changed by step.
local function note_total(step)
  local total, by_type, totals = 0, redis.call('HVALS', KEYS[4]), KEYS[#KEYS - 2]
  for _, count in ipairs(by_type) do total = total + count end
  local start, peak = string.match(redis.call('HGET', totals, day) or '', '^(%d+) (%d+)')
  if not start then
    forget(totals, figures_days_kept)
    start, peak = total - step, total - step
  end
  redis.call('HSET', totals, day, start .. ' ' .. math.max(peak, total) .. ' ' .. total)
end
