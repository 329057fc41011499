-- Today, by the server's clock.
-- ARGV[7]: 'DAY T0 T1 T2 T3': day DAY begins at T0, the next ones at T1 and T2, known until T3.
local first, t0, t1, t2, t3 = string.match(ARGV[7], '(%S+) (%S+) (%S+) (%S+) (%S+)')
if now < tonumber(t0) or now >= tonumber(t3) then return {now, 'other_day'} end
local day = first + (now >= tonumber(t1) and 1 or 0) + (now >= tonumber(t2) and 1 or 0)
-- Drops what is older than so many days from a hash whose fields begin with their day.
local function forget(key, days_kept)
  for _, old in ipairs(redis.call('HKEYS', key)) do
    if tonumber(string.match(old, '^-?%d+')) < day - days_kept then
      redis.call('HDEL', key, old)
    end
  end
end
