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
if mode == 'E' and not stopped and not ARGV[8] then
  local own, name = string.match(redis.call('GET', KEYS[2]) or '', '^([^!]%S*) (.*)$')
  local _, found = string.find(ARGV[4], ';' .. (name or '') .. ' ', 1, true)
  if found then
    local cap, tracked, counts = string.match(ARGV[4], '^(%S+) (%d) (%d)', found + 1)
    local per_user, per_group = string.match(limits, '^(%S+) (%S+)')
    local huge, his = math.huge, counts == '1' and KEYS[4] or KEYS[5]
    local most = math.min(tonumber(cap) or huge, tonumber(per_group) or huge, tonumber(own) or huge)
    local members = redis.call('SCARD', KEYS[3]) + 1
    local groups = (redis.call('SCARD', his) + 1) * counts
    local far = members * 100 < most * 65 and groups * 100 < (tonumber(per_user) or huge) * 65
    if far and tracked == '1' and redis.call('EXISTS', KEYS[#KEYS]) == 0 then
      local held = redis.call('SADD', KEYS[3], ARGV[7]) == 0
      if not held then redis.call('SADD', his, ARGV[5]) end
      return {now, held and 'H' or 'A', '', '', name, own}
    end
  end
end
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
local function risen(what, before, after, most)
  if most == 0 or after <= before or after * 100 < most * 65 then return end
  local warned = KEYS[#KEYS - 1]
  local standing = tonumber(redis.call('HGET', warned, what) or 0)
  local still, reached = 0, 0
  for _, percent in ipairs({70, 90, 100}) do
    if percent <= standing and before * 100 >= most * (percent - 5) then still = percent end
    if after * 100 >= most * percent then reached = percent end
  end
  local stands = math.max(still, reached)
  if stands == 0 then
    redis.call('HDEL', warned, what)
  elseif stands ~= standing then
    redis.call('HSET', warned, what, stands)
  end
  if reached > still then
    warnings[#warnings + 1] = what .. ',' .. after .. ',' .. most .. ',' .. reached
  end
end
local per_user, per_group = string.match(limits, '^(%S+) (%S+)')
per_user, per_group = limit(per_user), limit(per_group)
local seen, new, used, most = {}, {}, 0, 0
local function in_the_way(kind, key)
  local note, groups = '', 0
  if kind.tracked then
    if kind.counts then
      groups = redis.call('SCARD', KEYS[key])
      if groups >= per_user then note = 'u' .. groups end
    end
    if used >= most then note = note .. 'm' .. used end
  end
  return note, groups
end
local function plan(kind, user, key, groups)
  if kind.tracked then
    seen[user] = true
    used = used + 1
    new[#new + 1] = {user, key, groups}
  end
end
local function take_in(kind, user, key, held)
  if kind.tracked and (held == 1 or seen[user]) then
    say('H')
  else
    local note, groups = in_the_way(kind, key)
    if judge(note) then plan(kind, user, key, groups) end
  end
end
local function write_members(kind)
  if mode == 'C' or #new == 0 then return end
  local users = {}
  for i, one in ipairs(new) do
    users[i] = one[1]
    redis.call('SADD', KEYS[kind.counts and one[2] or one[2] + 1], ARGV[5])
    if kind.counts then risen('u' .. one[1], one[3], one[3] + 1, per_user) end
  end
  redis.call('SADD', KEYS[3], unpack(users))
  risen('m' .. ARGV[5], used - #new, used, most)
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
most = math.min(kind.cap, per_group, limit(own))
used = redis.call('SCARD', KEYS[3]) + ARGV[6]
local held = redis.call('SMISMEMBER', KEYS[3], unpack(ARGV, 7))
for i = 7, #ARGV do take_in(kind, ARGV[i], 2 * i - 10, held[i - 6]) end
write_members(kind)
if mode ~= 'C' and kind.tracked and tracks() then track(allowed(7, ARGV[5] .. ' ', '')) end
return answer(name, own)
