#!lua
-- Gives the cells of the next buckets their months, if they have none, and counts their users.
-- KEYS: 1 limits, 2 to 4 as months.lua, then buckets. ARGV: 4 to 6 unused, 7 days, 8 the number of
-- the first bucket. Result: also the next bucket that may have cells without months; all before it
-- have them. Does nothing if that is not the first one, or nothing is counted by month.
-- include begin
-- include skew
-- include verdicts
-- include days
-- include months
-- Cells after which the step ends: with a full last bucket some ten milliseconds.
local cells_max = 2000
say('A')
if not since or ARGV[8] ~= counting[2] then return answer(next_bucket) end
local cells = 0
for i = 5, #KEYS - 1 do
  local rows = redis.call('HGETALL', KEYS[i])
  for at = 1, #rows, 2 do
    local base, mask, months = unpack_cell(tonumber(rows[at + 1]))
    if not months then
      redis.call('HSET', KEYS[i], rows[at], pack_cell(base, mask, months_of(base, mask)))
    end
  end
  cells, next_bucket = cells + #rows / 2, next_bucket + 1
  if cells >= cells_max then break end
end
write_months()
redis.call('HSET', KEYS[4], 'next', next_bucket)
count_write(0)
return answer(next_bucket)
