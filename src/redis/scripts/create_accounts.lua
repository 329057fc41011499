#!lua
-- Creates an account for each user, in order.
-- KEYS: 1 limits, 2 number of accounts, then each user's bucket. ARGV: 4 accounts taken before (dry
-- run), 5.. users.
-- Invariant: the number of accounts is the sum of the buckets' sizes.
-- include begin
-- include verdicts
-- include take_hold
-- include track
-- include warn
local most = limit(limits)
local used = (redis.call('GET', KEYS[2]) or 0) + ARGV[4]
if used + #ARGV - 4 > most then
-- include due
end
-- include due_here
local seen, new = {}, {}
for i = 5, #ARGV do
  local user, bucket = ARGV[i], KEYS[i - 2]
  if seen[user] then
    say('H')
  elseif redis.call('SISMEMBER', bucket, user) == 1 then
    say(exists(i - 4, user))
  elseif judge(used < most and '' or 'a' .. used) then
    seen[user], used, new[#new + 1] = true, used + 1, i
    takes(i - 4, user)
  end
end
if aborts() then return answer() end
local new_facts = #new
-- include within_bounds
if mode ~= 'C' and #new > 0 then
  count_write(#new)
  for _, i in ipairs(new) do redis.call('SADD', KEYS[i - 2], ARGV[i]) end
  redis.call('INCRBY', KEYS[2], #new)
  risen('a', used - #new, used, most)
end
if mode ~= 'C' then write_take(#ARGV - 4) end
if mode ~= 'C' and tracks() then track(allowed(5, '', '')) end
return answer()
