-- The beginning of every operation: its time and its limits. It makes no functions, which cost a
-- call more than they run.
-- KEYS[1] limits; ARGV[1] mode (E, C, S, F), [2] deadline in ms, [3] limits of an app that has
-- none ('' refuses it). Nothing is written after the deadline. Takes off the end of KEYS, before the
-- mark, the part's counter of writes.
-- include mark
local writes_key, writes = table.remove(KEYS), nil
local time = redis.call('TIME')
local now = time[1] * 1000 + (time[2] - time[2] % 1000) / 1000
if now > tonumber(ARGV[2]) then return {now, 'late'} end
local mode = ARGV[1]
local line = redis.call('HGET', KEYS[1], 'line') or ARGV[3]
if line == '' then return {now, 'unknown_app'} end
local part, at, stopped, limits = 0, 1, false, ''
repeat
  local _, last, till, flag, rest = string.find(line, '^(%d+) (%d) ([^;]*);', at)
  if not last then
    stopped, limits = false, ''
    break
  end
  part, at, stopped, limits = part + 1, last + 1, flag == '1', rest
until now < tonumber(till)
