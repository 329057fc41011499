-- Counts of groups, at once (KEYS[4]) and net-new by day (KEYS[5]).
-- ARGV[7]: 'DAY T0 T1 T2 T3': day DAY begins at T0, the next ones at T1 and T2, known until T3.
local first, t0, t1, t2, t3 = string.match(ARGV[7], '(%S+) (%S+) (%S+) (%S+) (%S+)')
if now < tonumber(t0) or now >= tonumber(t3) then return {now, 'other_day'} end
local day = first + (now >= tonumber(t1) and 1 or 0) + (now >= tonumber(t2) and 1 or 0)
local days_kept = 62
local function count_group(name, step)
  redis.call('HINCRBY', KEYS[4], name, step)
  redis.call('HINCRBY', KEYS[5], day, step)
  local field = day .. '/' .. name
  if redis.call('HSETNX', KEYS[5], field, step) == 0 then
    redis.call('HINCRBY', KEYS[5], field, step)
    return
  end
  for _, old in ipairs(redis.call('HKEYS', KEYS[5])) do
    if tonumber(string.match(old, '^-?%d+')) < day - days_kept then
      redis.call('HDEL', KEYS[5], old)
    end
  end
end
local function remove_group(key, name)
  redis.call('DEL', key)
  count_group(name, -1)
end
