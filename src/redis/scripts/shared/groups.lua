-- Counts of groups, the current number (KEYS[4]) and net-new by day (KEYS[5]).
local days_kept = 62
local function count_group(name, step)
  count_write(step)
  redis.call('HINCRBY', KEYS[4], name, step)
  note_total(step, step)
  redis.call('HINCRBY', KEYS[5], day, step)
  local field = day .. '/' .. name
  if redis.call('HSETNX', KEYS[5], field, step) == 0 then
    redis.call('HINCRBY', KEYS[5], field, step)
  else
    forget(KEYS[5], days_kept)
  end
end
-- Deletes a group, with its reported thresholds (KEYS[#KEYS - 1]).
local function remove_group(key, name, group)
  redis.call('DEL', key)
  redis.call('HDEL', KEYS[#KEYS - 1], 'm' .. group, 'xm' .. group)
  count_group(name, -1)
end
