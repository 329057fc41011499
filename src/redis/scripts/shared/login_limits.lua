-- The limits on users who log in, by the segment of limits in force. Needs months.lua.
-- ARGV: 8 '1': users may be counted by month from now on, 9 '1': they have to be; 10 and 11 limits
-- of a day and of a month of an app without its own.
-- They are read from the text of the segment: the line has only what accounts need.
local in_force = found[1] and redis.call('HGET', KEYS[1], named .. part) or ''
local has_limits = string.find(in_force, '"active_users_per_', 1, true)
local function sold(id, otherwise)
  if not found[1] then return otherwise end
  return has_limits and string.match(in_force, '"id":"' .. id .. '","limit":(%d+)') or '-'
end
local day_most = limit(sold('active_users_per_day', ARGV[10]))
local month_sold = sold('active_users_per_month', ARGV[11])
local month_most = limit(month_sold)
if not since and (ARGV[9] == '1' or month_sold ~= '-') then
  since, next_bucket = day, redis.call('EXISTS', KEYS[2]) == 1 and 0 or buckets_all
  if mode ~= 'C' then
    -- The caller has to give the store its format first.
    if ARGV[8] ~= '1' then return {now, 'months_needed'} end
    redis.call('HSET', KEYS[4], 'since', day, 'next', next_bucket)
    count_write(0)
  end
end
-- Returns the violated limits of one more user on a day, and in the month of that first day.
local counted = {}
local function over(of, first)
  local note, users = '', nil
  if day_most < math.huge then
    users = (redis.call('HGET', KEYS[2], of) or 0) + (counted[of] or 0)
    if users >= day_most then note = 'l' .. string.format('%d', users) end
  end
  if first and month_most < math.huge then
    users = (redis.call('HGET', KEYS[3], first) or 0) + (in_months[first] or 0)
    if users >= month_most then note = note .. 'o' .. string.format('%d', users) end
  end
  return note
end
