#!lua
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
local tracks, tracked = ARGV[4] ~= '', KEYS[#KEYS]
if tracks and redis.call('SISMEMBER', tracked, 'since ' .. ARGV[4]) == 0 then
  return {now, 'not_since'}
end
local function changed(...)
  for _, found in ipairs(redis.call('SMISMEMBER', tracked, ...)) do
    if found == 1 then return true end
  end
  return false
end
local function repairs(left_alone)
  say(left_alone and 'L' or (mode == 'C' and 'F' or 'R'))
  return mode ~= 'C' and not left_alone
end
local function count_group(name, step)
  redis.call('HINCRBY', KEYS[4], name, step)
  note_total(step, 0)
end
local leaving, own, name = read_group(KEYS[2])
local wanted, wanted_own, was_changed = ARGV[6], ARGV[8], tracks and changed(ARGV[5])
if wanted == '' and name then
  local has_members = mode ~= 'C' and redis.call('SCARD', KEYS[3]) > 0
  if repairs(was_changed or has_members) then
    redis.call('DEL', KEYS[2])
    redis.call('HDEL', KEYS[#KEYS - 1], 'm' .. ARGV[5])
    count_group(name, -1)
  end
  return answer('there')
end
if wanted ~= '' and not name then
  if repairs(was_changed) then
    redis.call('SET', KEYS[2], (wanted_own == '' and '-' or wanted_own) .. ' ' .. wanted)
    count_group(wanted, 1)
  end
  return answer('here')
end
if wanted == '' or (name == wanted and leaving == '' and (wanted_own == '' or wanted_own == own))
then
  say('H')
  return answer('nothing')
end
if leaving == '!' then
  -- Whoever creates it finishes its dissolution first.
  say('L')
  return answer('here')
end
if name ~= wanted then
  say(was_changed and 'L' or 'F')
  return answer('type')
end
if repairs(was_changed) then redis.call('SET', KEYS[2], wanted_own .. ' ' .. name) end
return answer('own')
