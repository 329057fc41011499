#!lua
-- Closes a month in one part of an app, and reads its figures: later logins, samples and numbers of
-- groups of these days change nothing. Does nothing before the month's cut-off.
-- KEYS: 1 limits, 2 the last closed day, then hashes of figures.
-- ARGV: 4 cut-off in ms, 5 the month's last day.
-- Result: also whether it is closed (0, 1), then the hashes, as lists of fields and values.
-- include begin
-- include skew
-- include verdicts
say('A')
if now < tonumber(ARGV[4]) then return answer(0) end
if tonumber(redis.call('GET', KEYS[2]) or -2^31) < tonumber(ARGV[5]) then
  redis.call('SET', KEYS[2], ARGV[5])
end
local hashes = {}
for i = 3, #KEYS - 1 do hashes[i - 2] = redis.call('HGETALL', KEYS[i]) end
return answer(1, unpack(hashes))
