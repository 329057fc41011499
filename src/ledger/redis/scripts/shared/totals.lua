-- The number of groups over a day: KEYS[4] has the groups by type, KEYS[#KEYS - 2] by day
-- 'START PEAK END NET_NEW'.
local figures_days_kept = 400
-- To be called after the number has changed by step; net_new: by so much on that day.
local function note_total(step, net_new)
  local total, by_type, totals = 0, redis.call('HGETALL', KEYS[4]), KEYS[#KEYS - 2]
  for i = 2, #by_type, 2 do total = total + by_type[i] end
  local start, peak, net = string.match(redis.call('HGET', totals, day) or '',
    '^(%d+) (%d+) %d+ (-?%d+)')
  if not start then
    forget(totals, figures_days_kept)
    start, peak, net = total - step, total - step, 0
  end
  local row = {start, math.max(peak, total), total, net + net_new}
  redis.call('HSET', totals, day, table.concat(row, ' '))
end
