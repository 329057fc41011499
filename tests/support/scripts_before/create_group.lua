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
local kind = rules(ARGV[4], ARGV[10])
if not kind then return {now, 'type_unknown', ARGV[10]} end
local leaving, own, name = read_group(KEYS[2])
if leaving == '!' then return {now, 'dissolving'} end
if name and name ~= ARGV[10] then return {now, 'type_differs', name} end
local exists, first = name ~= nil, 12
name, own = ARGV[10], own or ARGV[8]
most = math.min(kind.cap, per_group, limit(own))
used = redis.call('SCARD', KEYS[3]) + ARGV[6]
local rises = {}
local function too_many(letter, of, count, at_most)
  count = tonumber(count or 0)
  rises[#rises + 1] = {letter .. of, count, count + 1, at_most}
  return count >= at_most and letter .. count or ''
end
if ARGV[11] == '1' then first = 13 end
if exists and first == 13 and kind.tracked then
  take_in(kind, ARGV[12], 6, redis.call('SISMEMBER', KEYS[3], ARGV[12]))
  if said[1] ~= 'D' then said[1] = said[1] == 'S' and 'G' or 'H' end
elseif exists then
  say('H')
else
  local _, at = string.find(limits, ' ' .. name .. '=', 1, true)
  local sold = limit(at and string.match(limits, '^%S+', at + 1) or '-')
  local note = too_many('g', name, redis.call('HGET', KEYS[4], name), math.min(kind.per_app, sold))
    .. too_many('t', name, redis.call('HGET', KEYS[5], day .. '/' .. name), kind.per_day)
    .. too_many('d', '', redis.call('HGET', KEYS[5], day), limit(ARGV[9]))
  local own_note, groups = '', 0
  if first == 13 then own_note, groups = in_the_way(kind, 6) end
  if judge(note .. own_note) and first == 13 then plan(kind, ARGV[12], 6, groups) end
end
if said[1] == 'D' then return answer(name, own) end
for i = first, #ARGV do
  take_in(kind, ARGV[i], 2 * i - 18, redis.call('SISMEMBER', KEYS[3], ARGV[i]))
end
if mode ~= 'C' and not exists then
  redis.call('SET', KEYS[2], own .. ' ' .. name)
  count_group(name, 1)
  for _, rise in ipairs(rises) do risen(unpack(rise)) end
end
local taken = used - redis.call('SCARD', KEYS[3])
write_members(kind)
if mode ~= 'C' and tracks() then track({ARGV[5]}) end
return answer(name, own, taken)
