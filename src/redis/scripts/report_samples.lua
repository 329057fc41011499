#!lua
-- Keeps the highest sample of each day and name.
-- KEYS: 1 limits, 2 values by 'DAY/NAME'.
-- ARGV: 4 days that a sample may be late, 5 ms that it may be ahead, 6 days of figures that are
-- kept, 7 days, then the day, the instant in ms ('' for both: now), the name and the value of each
-- sample.
-- Letters: A a new peak, H no higher than before, O too old or of a closed month, F in the future.
-- include begin
-- include skew
-- include verdicts
-- include days
local late, peaks = tonumber(ARGV[4]), {}
for i = 8, #ARGV, 4 do
  local of, at = tonumber(ARGV[i]) or day, tonumber(ARGV[i + 1]) or now
  local field, value = of .. '/' .. ARGV[i + 2], ARGV[i + 3]
  local highest = peaks[field] or redis.call('HGET', KEYS[2], field) or 0
  if at > now + ARGV[5] then
    say('F')
  elseif of < first_open or of < day - late then
    say('O')
  elseif tonumber(value) > tonumber(highest) then
    say('A')
    peaks[field] = value
  else
    say('H')
  end
end
if next(peaks) then
  count_write(0)
end
for field, value in pairs(peaks) do
  if redis.call('HSET', KEYS[2], field, value) == 1 then forget(KEYS[2], tonumber(ARGV[6])) end
end
return answer()
