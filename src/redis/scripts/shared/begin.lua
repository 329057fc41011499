-- Begins every operation: its time and its limits. Defines no functions, since creating them costs
-- a call more than the code itself.
-- KEYS[1] limits; ARGV[1] mode (verdicts.lua), [2] deadline in ms, [3] limits of an app without its
-- own ('' refuses it), preceded by '!' if the app has to be counted before anything is taken, and
-- followed by '#' and the most facts of a part. Nothing is written after the deadline. Behind the
-- mode a take may have its hold (take_hold.lua). Removes from the end of KEYS, before the mark, the
-- part's holds, their expiries (holds.lua), and its counter of writes.
-- include mark
local writes_key, writes = table.remove(KEYS), nil
local expiry_key, holds_key = table.remove(KEYS), table.remove(KEYS)
local time = redis.call('TIME')
local now = time[1] * 1000 + (time[2] - time[2] % 1000) / 1000
if now > tonumber(ARGV[2]) then return {now, 'late'} end
local mode, hold = ARGV[1], nil
if #mode > 1 then mode, hold = string.sub(mode, 1, 1), string.sub(mode, 2) end
local found = redis.call('HMGET', KEYS[1], 'line', 'due')
local line, due, facts_max = found[1], found[2], nil
if not line then
  line = ARGV[3]
  if line == '' then return {now, 'unknown_app'} end
  if string.sub(line, 1, 1) == '!' then return {now, 'uncounted'} end
  facts_max = tonumber(string.match(line, '#(%d+)$'))
end
-- A line begins with '0 0 FROM;': it applies from FROM on, and an earlier line before that. A line
-- of the previous version has no such beginning, and always applies. Subtraction parses a number
-- from a text without a function call. flag: 1 if the service is stopped, else 2 if members are
-- sold by type.
local part, named, from = 2, '', nil
local _, at, since, till, flag, limits = string.find(line, '^0 0 (%d+);(%d+) (%d) ([^;]*);')
if at and now - since >= 0 then
  from = since
else
  if at then line, named = redis.call('HGET', KEYS[1], 'past') or '', 'p' end
  part = 1
  _, at, till, flag, limits = string.find(line, '^(%d+) (%d) ([^;]*);')
end
while at and now - till >= 0 do
  part, from = part + 1, till
  _, at, till, flag, limits = string.find(line, '^(%d+) (%d) ([^;]*);', at + 1)
end
local stopped = flag == '1'
limits = limits or ''
-- is_skewed: the clocks of the server and of the caller differ by more than 5 minutes; is_astray:
-- the caller's is then also in another segment of the limits.
local is_skewed, is_astray = now - caller_now > 300000 or caller_now - now > 300000, false
if is_skewed then
  is_astray = (from and caller_now - from < 0) or (at and caller_now - till >= 0)
end
-- The number of the part's facts that have expired and are not removed yet. While the clocks
-- disagree, nothing expires.
local expired = 0
if due and now - due >= 0 and not is_skewed then
  expired = redis.call('ZCOUNT', expiry_key, '-inf', now)
end
