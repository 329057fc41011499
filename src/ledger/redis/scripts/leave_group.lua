#!lua flags=allow-oom
-- Takes users out; a group whose last member left is reclaimed where its type says so.
-- KEYS: 1 limits, 2 group, 3 its members, 4 groups by type, 5 by day, then each user's two cells.
-- ARGV: 4 types, 5 group, 6 unused, 7 days, 8.. users. Answer: also whether it was reclaimed.
-- include begin
-- include types
-- include days
local leaving, own, name = read_group(KEYS[2])
local out = 0
for i = 8, #ARGV do
  local held = redis.call('SREM', KEYS[3], ARGV[i])
  if held == 1 and redis.call('SREM', KEYS[2 * i - 10], ARGV[5]) == 0 then
    redis.call('SREM', KEYS[2 * i - 9], ARGV[5])
  end
  out = out + held
  say(held == 1 and 'A' or 'N')
end
local reclaimed = 0
if name and out > 0 and redis.call('SCARD', KEYS[3]) == 0 then
  local kind = rules(ARGV[4], name)
  if leaving == '!' or (kind and kind.reclaim) then
    remove_group(KEYS[2], name)
    reclaimed = 1
  end
end
return answer(reclaimed)
