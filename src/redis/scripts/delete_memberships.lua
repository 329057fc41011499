#!lua flags=allow-oom
-- Removes a user who is deleted from groups, and returns up to 256 that remain.
-- KEYS: 1 limits, 2 and 3 the user's cells, 4 groups by type, 5 by day, then each group and its
-- members. ARGV: 4 types, 5 user, 6 '1': the user leaves none unless all are named, 7 days, 8..
-- groups.
-- include begin
-- include due_here
-- include verdicts
-- include holds
-- include types
-- include days
-- include totals
-- include groups
-- include left
-- include track
local named, left_groups, changed = 0, 0, 0
for i = 8, #ARGV do
  named = named + redis.call('SISMEMBER', KEYS[2], ARGV[i])
    + redis.call('SISMEMBER', KEYS[3], ARGV[i])
end
local first, reclaimed = #ARGV + 1, {'d' .. ARGV[5]}
if ARGV[6] == '0' or named == redis.call('SCARD', KEYS[2]) + redis.call('SCARD', KEYS[3]) then
  first = 8
end
for i = first, #ARGV do
  local group, members = KEYS[2 * i - 10], KEYS[2 * i - 9]
  local held = redis.call('SREM', KEYS[2], ARGV[i]) + redis.call('SREM', KEYS[3], ARGV[i])
  changed = changed + held + redis.call('SREM', members, ARGV[5])
  settle('m' .. ARGV[i] .. ' ' .. ARGV[5], 'o')
  left_groups = left_groups + held
  local leaving, own, name = read_group(group)
  if name and held > 0 and redis.call('SCARD', members) == 0 then
    local kind = rules(ARGV[4], name)
    if leaving == '!' or (kind and kind.reclaim) then
      remove_group(group, name, ARGV[i])
      reclaimed[#reclaimed + 1] = ARGV[i]
    end
  end
end
if changed > 0 then
  count_write(-left_groups)
  write_holds()
end
redis.call('HDEL', KEYS[#KEYS - 1], 'u' .. ARGV[5], 'xu' .. ARGV[5])
if tracks() then track(reclaimed) end
say(left_groups > 0 and 'A' or 'N')
return answer(left_of(KEYS[2], KEYS[3]))
