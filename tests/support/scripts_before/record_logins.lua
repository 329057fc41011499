#!lua
local mark = redis.call('GET', table.remove(KEYS))
local caller_now, generation = tonumber(table.remove(ARGV)), table.remove(ARGV)
if mark ~= generation then return redis.error_reply('STORELOST ' .. (mark or 'no mark')) end
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
local is_skewed, is_astray = now - caller_now > 300000 or caller_now - now > 300000, false
if is_skewed then
  is_astray = (from and caller_now - from < 0) or (at and caller_now - till >= 0)
end
local expired = 0
if due and now - due >= 0 and not is_skewed then
  expired = redis.call('ZCOUNT', expiry_key, '-inf', now)
end
if math.abs(now - caller_now) > 300000 then
  return redis.error_reply('CLOCKSKEW ' .. math.floor(math.abs(now - caller_now) / 1000))
end
local function limit(text) return tonumber(text) or math.huge end
local is_whole = mode == 'e' or mode == 'c'
if is_whole then mode = string.upper(mode) end
local said, notes, warnings = {}, {}, {}
local function say(letter) said[#said + 1] = letter end
local function judge(note)
  if stopped then note = 's0' end
  -- While only one of the two clocks is in this segment of the limits, nothing is taken, nor is the
  -- service reported as stopped. This is decided before the first write.
  if is_astray and (stopped or note == '' or mode == 'F' or mode == 'S') then
    error({err = 'CLOCKSKEW ' .. math.floor(math.abs(now - caller_now) / 1000)})
  end
  if note == '' or mode == 'F' then
    say('A')
    return true
  end
  notes[#notes + 1] = note
  say(mode == 'S' and 'S' or 'D')
  return mode == 'S'
end
local function aborts(with_first)
  if not is_whole or #notes == 0 then return false end
  for i, letter in ipairs(said) do said[i] = letter == 'A' and 'X' or letter end
  said[1] = with_first and 'X' or said[1]
  return true
end
local function count_write(facts)
  writes = writes or redis.call('INCRBY', writes_key, 1)
  if facts and facts_max then
    if (writes == 1 and facts >= 0) or redis.call('HGET', KEYS[1], 'facts') then
      redis.call('HINCRBY', KEYS[1], 'facts', string.format('%d', facts))
    end
  end
end
local function exceeds_facts(new)
  if not facts_max or mode == 'F' or new == 0 then return false end
  return (redis.call('HGET', KEYS[1], 'facts') or 0) + new > facts_max
end
local function answer(...)
  local segment = #notes > 0 and redis.call('HGET', KEYS[1], named .. part) or ''
  local noted = table.concat(notes, ' ')
  if #warnings > 0 then noted = noted .. '|' .. table.concat(warnings, ' ') end
  writes = writes or tonumber(redis.call('GET', writes_key) or 0)
  return {now, writes, table.concat(said), segment, noted, ...}
end
local first, t0, t1, t2, t3, open, cut_off, next_open, callers_day =
  string.match(ARGV[7], '(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+)')
if now < tonumber(t0) or now >= tonumber(t3) then return {now, 'other_day'} end
local day = first + (now >= tonumber(t1) and 1 or 0) + (now >= tonumber(t2) and 1 or 0)
local closed = tonumber(redis.call('GET', table.remove(KEYS)) or -2^31)
local first_open = math.max(closed + 1, now < tonumber(cut_off) and open or next_open)
local is_other_day = is_skewed and tonumber(callers_day) ~= day
local function forget(key, days_kept)
  local days, newest = redis.call('HKEYS', key), -math.huge
  for i, field in ipairs(days) do
    local of = tonumber(string.match(field, '^-?%d+'))
    if of < day then newest = math.max(newest, of) end
  end
  if is_skewed or newest < day - 31 then return end
  for _, field in ipairs(days) do
    if tonumber(string.match(field, '^-?%d+')) < day - days_kept then
      redis.call('HDEL', key, field)
    end
  end
end
local late = tonumber(ARGV[4])
local back, masks, cells, buckets, counted = late + 1, 2 ^ (late + 2), {}, {}, {}
for i = 8, #ARGV, 3 do
  local of, at = tonumber(ARGV[i]) or day, tonumber(ARGV[i + 1]) or now
  local user, bucket = ARGV[i + 2], KEYS[(i + 1) / 3]
  local cell = cells[user] or tonumber(redis.call('HGET', bucket, user) or of * masks)
  local base, mask = math.floor(cell / masks), cell % masks
  if at > now + ARGV[5] then
    say('F')
  elseif of < first_open or of < day - late or of < base - back then
    say('O')
  else
    if of > base then
      mask = of - base <= back and mask * 2 ^ (of - base) % masks or 0
      base = of
    end
    local one = 2 ^ (base - of)
    if math.floor(mask / one) % 2 == 1 then
      say('H')
    else
      say('A')
      cells[user], buckets[user] = base * masks + mask + one, bucket
      counted[of] = (counted[of] or 0) + 1
    end
  end
end
local function sweep(bucket)
  local rows = redis.call('HGETALL', bucket)
  for i = 1, #rows, 2 do
    if math.floor(rows[i + 1] / masks) < day - late then redis.call('HDEL', bucket, rows[i]) end
  end
end
for user, cell in pairs(cells) do
  local is_new = redis.call('HSET', buckets[user], user, string.format('%.0f', cell)) == 1
  if is_new and string.sub(user, -2) == '00' then sweep(buckets[user]) end
end
if next(counted) then
  count_write(0)
end
for of, logins in pairs(counted) do
  if redis.call('HINCRBY', KEYS[2], of, logins) == logins then
    forget(KEYS[2], tonumber(ARGV[6]))
  end
end
return answer()
