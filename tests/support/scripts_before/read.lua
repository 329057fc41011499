#!lua flags=no-writes
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
say('A')
local schedule, what = redis.call('HGET', KEYS[1], 'json') or '', ARGV[4]
if what == 'set' then return answer(schedule, redis.call('SCARD', KEYS[2])) end
if what == 'number' then return answer(schedule, tonumber(redis.call('GET', KEYS[2]) or 0)) end
if what == 'hashes' then
  local hashes = {}
  for i = 2, #KEYS - 1 do hashes[i - 1] = redis.call('HGETALL', KEYS[i]) end
  return answer(schedule, unpack(hashes))
end
local leaving, own, name = read_group(KEYS[2])
if not name or leaving == '!' then return {now, 'group_not_found'} end
return answer(schedule, name, own, redis.call('SCARD', KEYS[3]))
