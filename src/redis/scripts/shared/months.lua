-- The cell of a user's logins, and users by month. Needs days.lua.
-- KEYS: 2 logins by day, 3 users by month, by its first day, 4 since when users are counted by month
-- ('since'), and the first bucket that may have cells without months ('next').
-- A cell is base * 2^33 + mask; bit i of the mask is a login on day base - i. The base may be
-- tomorrow, so that 33 days are needed to reach back far enough. With months it is
-- 2^52 + (base * 8 + months) * 2^33 + mask; bit i: the user is counted in the month of base less i.
-- Invariant: the users of a month that is not closed are the bits of all users for it.
local masks, with_months, buckets_all = 2 ^ 33, 2 ^ 19, 32768
local counting = redis.call('HMGET', KEYS[4], 'since', 'next')
local since, next_bucket = counting[1], tonumber(counting[2])
local in_months = {}
local function unpack_cell(cell)
  local base, mask = math.floor(cell / masks), cell % masks
  if base < with_months then return base, mask end
  return math.floor((base - with_months) / 8), mask, base % 8
end
local function pack_cell(base, mask, months)
  if months then base = with_months + base * 8 + months end
  return string.format('%.0f', base * masks + mask)
end
-- Months are numbered: year * 12, and 0 for January.
local function first_of(month)
  local year = math.floor((month - 2) / 12)
  local leaps = math.floor(year / 4) - math.floor(year / 100) + math.floor(year / 400)
  return year * 365 + leaps + math.floor(((month - 2) % 12 * 153 + 2) / 5) - 719468
end
local function month_of(of)
  local month = math.floor(of / 30.436875) + 23640
  if first_of(month) > of then return month - 1 end
  return first_of(month + 1) <= of and month + 1 or month
end
local function count_in(month)
  local first = first_of(month)
  if first > closed then in_months[first] = (in_months[first] or 0) + 1 end
end
-- The months of a cell without them, by its mask; counts the user in each.
local function months_of(base, mask)
  local month, months, low = month_of(base), 0, 0
  for i = 0, 2 do
    local high = math.min(base - first_of(month - i), 32)
    if high >= low and math.floor(mask / 2 ^ low) % 2 ^ (high - low + 1) > 0 then
      months = months + 2 ^ i
      count_in(month - i)
    end
    low = high + 1
  end
  return months
end
local function write_months()
  for first, users in pairs(in_months) do redis.call('HINCRBY', KEYS[3], first, users) end
  local firsts = redis.call('HKEYS', KEYS[3])
  if #firsts <= 16 then return end
  table.sort(firsts, function(a, b) return tonumber(a) < tonumber(b) end)
  for i = 1, #firsts - 16 do redis.call('HDEL', KEYS[3], firsts[i]) end
end
