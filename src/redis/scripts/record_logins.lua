#!lua
-- Counts each user once per day, and once per month if the app counts users by month.
-- KEYS: 1 limits, 2 to 4 as months.lua, then the bucket of each login's user.
-- ARGV: 4 days that a login may be late, 5 ms that it may be ahead, 6 days of figures that are
-- kept, 7 days, 8 to 11 as login_limits.lua, then the day, the instant in ms ('' for both: now) and
-- the user of each login. A bucket holds a cell by user.
-- Result: also the next bucket that may have cells without months, if the app counts by month.
-- Letters: A counted, S counted over a limit, H counted before, D denied, O too old or of a closed
-- month, F in the future.
-- Invariant: the logins of a day are the bits of all users for it.
-- include begin
-- include skew
-- include verdicts
-- include days
-- include months
-- include login_limits
local late, cells, buckets = tonumber(ARGV[4]), {}, {}
-- include write_logins
-- Counts a user on a day, unless a limit denies it.
local function take(user, bucket, of, base, mask, months)
  local month = months and month_of(of)
  local back = months and month_of(base) - month
  local is_new = months and math.floor(months / 2 ^ back) % 2 == 0
  local note = mode == 'F' and '' or over(of, is_new and first_of(month))
  if note ~= '' then notes[#notes + 1] = note end
  if note ~= '' and mode ~= 'S' then return say('D') end
  say(note == '' and 'A' or 'S')
  if is_new then
    months = months + 2 ^ back
    count_in(month)
  end
  cells[user], buckets[user] = pack_cell(base, mask + 2 ^ (base - of), months), bucket
  counted[of] = (counted[of] or 0) + 1
end
for i = 12, #ARGV, 3 do
  local of, at = tonumber(ARGV[i]) or day, tonumber(ARGV[i + 1]) or now
  local user, bucket = ARGV[i + 2], KEYS[(i + 3) / 3]
  local cell = tonumber(cells[user] or redis.call('HGET', bucket, user))
  local base, mask, months = unpack_cell(cell or of * masks)
  if next_bucket and not months then
    months = months_of(base, mask)
    if cell then cells[user], buckets[user] = pack_cell(base, mask, months), bucket end
  end
  if at > now + ARGV[5] then
    say('F')
  elseif of < first_open or of < day - late or of < base - late - 1 then
    say('O')
  else
    if of > base then
      mask = of - base <= late + 1 and mask * 2 ^ (of - base) % masks or 0
      if months then months = months * 2 ^ (month_of(of) - month_of(base)) % 8 end
      base = of
    end
    local is_repeated = math.floor(mask / 2 ^ (base - of)) % 2 == 1
    if is_repeated then say('H') else take(user, bucket, of, base, mask, months) end
  end
end
if mode ~= 'C' then write_logins() end
return answer(next_bucket)
