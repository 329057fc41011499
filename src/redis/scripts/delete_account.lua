#!lua flags=allow-oom
-- Deletes one account. KEYS: 1 limits, 2 number of accounts, 3 the user's bucket. ARGV: 4 user.
-- include begin
-- include due_here
-- include verdicts
-- include holds
-- include track
local held = redis.call('SREM', KEYS[3], ARGV[4])
if held == 1 then
  redis.call('DECR', KEYS[2])
  count_write(-1)
  settle(ARGV[4], 'o')
  write_holds()
end
if tracks() then track({ARGV[4]}) end
say(held == 1 and 'A' or 'N')
return answer()
