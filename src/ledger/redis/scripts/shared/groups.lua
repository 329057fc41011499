-- Counts of groups, at once (KEYS[4]) and net-new by day (KEYS[5]).
local days_kept = 62
local function count_group(name, step)
  redis.call('HINCRBY', KEYS[4], name, step)
  note_total(step)
  redis.call('HINCRBY', KEYS[5], day, step)
  local field = day .. '/' .. name
  if redis.call('HSETNX', KEYS[5], field, step) == 0 then
    redis.call('HINCRBY', KEYS[5], field, step)
  else
    forget(KEYS[5], days_kept)
  end
end
local function remove_group(key, name)
  redis.call('DEL', key)
  count_group(name, -1)
end
