-- Writes the cells and counts of logins. Needs months.lua and login_limits.lua.
-- Drops users whose logins are too old to matter. Every hundredth new user, by the end of the
-- fingerprint, has their bucket swept, which costs little and keeps every bucket bounded.
local oldest = day - late
-- A late login in the same month would be a repetition too.
if next_bucket then oldest = first_of(month_of(oldest)) end
local function sweep(bucket)
  local rows = redis.call('HGETALL', bucket)
  for i = 1, #rows, 2 do
    if unpack_cell(tonumber(rows[i + 1])) < oldest then redis.call('HDEL', bucket, rows[i]) end
  end
end
local function write_logins()
  for user, cell in pairs(cells) do
    local is_new = redis.call('HSET', buckets[user], user, cell) == 1
    if is_new and string.sub(user, -2) == '00' then sweep(buckets[user]) end
  end
  if next(cells) then count_write(0) end
  for of, logins in pairs(counted) do
    if redis.call('HINCRBY', KEYS[2], of, logins) == logins then
      forget(KEYS[2], tonumber(ARGV[6]))
    end
  end
  if next(in_months) then write_months() end
end
