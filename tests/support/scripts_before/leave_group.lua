#!lua flags=allow-oom
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
local function limit(text) return tonumber(text) or math.huge end
local said, notes, warnings = {}, {}, {}
local function say(letter) said[#said + 1] = letter end
local function judge(note)
  if stopped then note = 's0' end
  if note == '' or mode == 'F' then
    say('A')
    return true
  end
  notes[#notes + 1] = note
  say(mode == 'S' and 'S' or 'D')
  return mode == 'S'
end
local function answer(...)
  local segment = #notes > 0 and redis.call('HGET', KEYS[1], part) or ''
  local told = table.concat(notes, ' ')
  if #warnings > 0 then told = told .. '|' .. table.concat(warnings, ' ') end
  return {now, table.concat(said), segment, told, ...}
end
local function rules(types, name)
  local _, at = string.find(types, ';' .. name .. ' ', 1, true)
  if not at then return nil end
  local cap, tracked, counts, reclaim, per_app, per_day =
    string.match(types, '^(%S+) (%d) (%d) (%d) (%S+) ([^;]+)', at + 1)
  return {
    cap = limit(cap), tracked = tracked == '1', counts = counts == '1',
    reclaim = reclaim == '1', per_app = limit(per_app), per_day = limit(per_day),
  }
end
local function read_group(key)
  return string.match(redis.call('GET', key) or '', '^(!?)(%S+) (.*)$')
end
local first, t0, t1, t2, t3 = string.match(ARGV[7], '(%S+) (%S+) (%S+) (%S+) (%S+)')
if now < tonumber(t0) or now >= tonumber(t3) then return {now, 'other_day'} end
local day = first + (now >= tonumber(t1) and 1 or 0) + (now >= tonumber(t2) and 1 or 0)
local function forget(key, days_kept)
  for _, old in ipairs(redis.call('HKEYS', key)) do
    if tonumber(string.match(old, '^-?%d+')) < day - days_kept then
      redis.call('HDEL', key, old)
    end
  end
end
local figures_days_kept = 400
local function note_total(step, net_new)
  local total, by_type, totals = 0, redis.call('HGETALL', KEYS[4]), KEYS[#KEYS - 2]
  for i = 2, #by_type, 2 do total = total + by_type[i] end
  local start, peak, net = string.match(redis.call('HGET', totals, day) or '',
    '^(%d+) (%d+) %d+ (-?%d+)')
  if not start then
    forget(totals, figures_days_kept)
    start, peak, net = total - step, total - step, 0
  end
  local row = {start, math.max(peak, total), total, net + net_new}
  redis.call('HSET', totals, day, table.concat(row, ' '))
end
local days_kept = 62
local function count_group(name, step)
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
local function remove_group(key, name, group)
  redis.call('DEL', key)
  redis.call('HDEL', KEYS[#KEYS - 1], 'm' .. group)
  count_group(name, -1)
end
local tracked_max = 1000000
local function tracks() return redis.call('EXISTS', KEYS[#KEYS]) == 1 end
local function track(facts)
  if #facts == 0 then return end
  redis.call('SADD', KEYS[#KEYS], unpack(facts))
  if redis.call('SCARD', KEYS[#KEYS]) > tracked_max then redis.call('UNLINK', KEYS[#KEYS]) end
end
local function allowed(first, before, after)
  local facts = {}
  for i = first, #ARGV do
    if said[i - first + 1] ~= 'D' then facts[#facts + 1] = before .. ARGV[i] .. after end
  end
  return facts
end
local leaving, own, name = read_group(KEYS[2])
local out = 0
for i = 8, #ARGV do
  local held = redis.call('SREM', KEYS[3], ARGV[i])
  if held == 1 and redis.call('SREM', KEYS[2 * i - 10], ARGV[5]) == 0 then
    redis.call('SREM', KEYS[2 * i - 9], ARGV[5])
  end
  out = out + held
  say(held == 1 and 'A' or 'N')
end
local reclaimed, kind = 0, name and rules(ARGV[4], name)
if name and out > 0 and redis.call('SCARD', KEYS[3]) == 0 then
  if leaving == '!' or (kind and kind.reclaim) then
    remove_group(KEYS[2], name, ARGV[5])
    reclaimed = 1
  end
end
if (not kind or kind.tracked) and tracks() then
  track(allowed(8, ARGV[5] .. ' ', ''))
  if reclaimed == 1 then track({ARGV[5]}) end
end
return answer(reclaimed)
