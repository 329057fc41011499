-- Counts of groups, the current number (KEYS[4]) and net-new by day (KEYS[5]). A held group counts
-- on the day of its take, 'since', and in no figure of a day until it is confirmed: how many are
-- held is in the field '@held' of KEYS[4]. Needs holds.lua.
local days_kept = 62
local function count_group(name, step, since)
  count_write(step)
  redis.call('HINCRBY', KEYS[4], name, step)
  if since then redis.call('HINCRBY', KEYS[4], '@held', step) else note_total(step, step) end
  local of = since or day
  redis.call('HINCRBY', KEYS[5], of, step)
  local field = of .. '/' .. name
  if redis.call('HSETNX', KEYS[5], field, step) == 0 then
    redis.call('HINCRBY', KEYS[5], field, step)
  else
    forget(KEYS[5], days_kept)
  end
end
-- Returns the day of the take of a group that is held, which is not held any more.
local function end_group_hold(group)
  local since = string.match(redis.call('HGET', holds_key, 'g' .. group) or '', '^%S+')
  if since then redis.call('HDEL', holds_key, 'g' .. group) end
  return since
end
-- Deletes a group, with its reported thresholds (KEYS[#KEYS - 1]).
local function remove_group(key, name, group)
  redis.call('DEL', key)
  redis.call('HDEL', KEYS[#KEYS - 1], 'm' .. group, 'xm' .. group)
  settle('z' .. group, 'o')
  count_group(name, -1, end_group_hold(group))
end
-- Makes a held group permanent.
local function keep_group(key, name, own, group)
  redis.call('SET', key, own .. ' ' .. name)
  settle('z' .. group, 'c')
  if end_group_hold(group) then
    redis.call('HINCRBY', KEYS[4], '@held', -1)
    note_total(1, 1)
  end
end
