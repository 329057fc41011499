-- Today, by the server's clock.
-- ARGV[7]: 'DAY T0 T1 T2 T3 OPEN CUT_OFF NEXT_OPEN CALLERS': day DAY begins at T0, the next ones at
-- T1 and T2, valid until T3. OPEN is the first day of a month that is not closed before CUT_OFF,
-- and NEXT_OPEN from then on. CALLERS is today by the caller's clock.
-- Removes the last closed day from the end of KEYS.
local first, t0, t1, t2, t3, open, cut_off, next_open, callers_day =
  string.match(ARGV[7], '(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+)')
if now < tonumber(t0) or now >= tonumber(t3) then return {now, 'other_day'} end
local day = first + (now >= tonumber(t1) and 1 or 0) + (now >= tonumber(t2) and 1 or 0)
local closed = tonumber(redis.call('GET', table.remove(KEYS)) or -2^31)
local first_open = math.max(closed + 1, now < tonumber(cut_off) and open or next_open)
-- Set if the clocks are too far apart to determine the day.
local is_other_day = is_skewed and tonumber(callers_day) ~= day
-- Drops entries older than the given days from a hash whose fields begin with their day; drops none
-- by a doubtful clock, or by one that has just moved ahead by more than a month.
local function forget(key, days_kept)
  local days, newest = redis.call('HKEYS', key), -math.huge
  for i, field in ipairs(days) do
    local of = tonumber(string.match(field, '^-?%d+'))
    if of < day then newest = math.max(newest, of) end
  end
  if is_skewed or newest < day - 31 then return end
  for _, field in ipairs(days) do
    if tonumber(string.match(field, '^-?%d+')) < day - days_kept then
      redis.call('HDEL', key, field)
    end
  end
end
