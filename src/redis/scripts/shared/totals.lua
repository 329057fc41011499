-- The number of groups over a day: KEYS[4] has the groups by type, KEYS[#KEYS - 2] by day 'START
-- PEAK END NET_NEW'.
local figures_days_kept = 400
-- A closed day no longer changes.
day = math.max(day, closed + 1)
-- If the clocks disagree, it is the day of the one that is nearer to the last counted day.
if is_other_day then
  local newest, callers = -math.huge, tonumber(callers_day)
  for _, of in ipairs(redis.call('HKEYS', KEYS[#KEYS - 2])) do
    newest = math.max(newest, tonumber(of))
  end
  if math.abs(callers - newest) <= math.abs(day - newest) then day = callers end
end
-- Returns the number of groups, and how many of them are held: those are in no figure of a day.
local function total_groups()
  local total, held, by_type = 0, 0, redis.call('HGETALL', KEYS[4])
  for i = 2, #by_type, 2 do
    if by_type[i - 1] == '@held' then held = by_type[i] else total = total + by_type[i] end
  end
  return total, held
end
-- Called after the number has changed by step; net_new: the change of that day.
local function note_total(step, net_new)
  local total, held = total_groups()
  local totals = KEYS[#KEYS - 2]
  total = total - held
  local start, peak, net = string.match(redis.call('HGET', totals, day) or '',
    '^(%d+) (%d+) %d+ (-?%d+)')
  if not start then
    forget(totals, figures_days_kept)
    start, peak, net = total - step, total - step, 0
  end
  local row = {start, math.max(peak, total), total, net + net_new}
  redis.call('HSET', totals, day, table.concat(row, ' '))
end
