#!lua flags=allow-oom
-- Removes accounts that have expired, or whose hold is released.
-- KEYS: 1 limits, 2 number of accounts, then each user's bucket. ARGV: 4 '', 5-7 end_hold.lua, then
-- each fact and its index.
-- include begin
-- include verdicts
-- include holds
-- include track
-- include end_hold
local removed = {}
for i = 8, #ARGV, 2 do
  local user, bucket = ARGV[i], KEYS[i / 2 - 1]
  if ends(user, ARGV[i + 1]) and redis.call('SREM', bucket, user) == 1 then
    removed[#removed + 1] = user
  end
end
if #removed > 0 then redis.call('INCRBY', KEYS[2], -#removed) end
count_write(-#removed)
write_end()
if tracks() then track(removed) end
return answer(#removed)
