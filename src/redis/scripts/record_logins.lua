#!lua
-- Counts each user once per day.
-- KEYS: 1 limits, 2 logins by day, then the bucket of each login's user.
-- ARGV: 4 days that a login may be late, 5 ms that it may be ahead, 6 days of figures that are
-- kept, 7 days, then the day, the instant in ms ('' for both: now) and the user of each login.
-- A bucket holds, by user, base * 2^33 + mask; bit i of the mask is a login on day base - i. The
-- base may be tomorrow, so that 33 days are needed to reach back far enough.
-- Letters: A counted, H counted before, O too old or of a closed month, F in the future.
-- Invariant: the logins of a day are the bits of all users for it.
-- include begin
-- include skew
-- include verdicts
-- include days
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
-- Drops users whose logins are too old to matter. Every hundredth new user, by the end of the
-- fingerprint, has their bucket swept, which costs little and keeps every bucket bounded.
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
