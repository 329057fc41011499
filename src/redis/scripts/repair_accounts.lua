#!lua
-- Adds accounts that are missing, or removes those that should not exist.
-- KEYS: 1 limits, 2 number of accounts, then each user's bucket. ARGV: 4 since, 5 whether they
-- exist (0, 1), 6.. users.
-- Invariant: the number of accounts is the sum of the buckets' sizes.
-- include begin
-- include due_here
-- include held
-- include verdicts
-- include repair
local exist, done = ARGV[5] == '1', 0
for i = 6, #ARGV do
  local user, bucket = ARGV[i], KEYS[i - 3]
  if (redis.call('SISMEMBER', bucket, user) == 1) == exist then
    say('H')
  elseif repairs(is_held(user) or tracks and changed(user)) then
    done = done + redis.call(exist and 'SADD' or 'SREM', bucket, user)
  end
end
if done > 0 then
  redis.call('INCRBY', KEYS[2], exist and done or -done)
  count_write(exist and done or -done)
end
return answer()
