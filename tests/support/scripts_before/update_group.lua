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
if not name or leaving == '!' then return {now, 'group_not_found'} end
local kind = rules(ARGV[4], name)
if not kind then return {now, 'type_unknown', name} end
if ARGV[5] ~= '-' and not kind.tracked then return {now, 'not_tracked', name} end
if own ~= ARGV[5] then redis.call('SET', KEYS[2], ARGV[5] .. ' ' .. name) end
if tracks() then track({ARGV[6]}) end
say(own == ARGV[5] and 'H' or 'A')
return answer()
