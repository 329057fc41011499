#!lua
-- Adds friends to the user's list and, unless one way, the user to theirs.
-- KEYS: 1 limits, 2 list of the user, 3 the user's fans, then each friend's list and fans.
-- ARGV: 4 one way (0, 1), 5 user, 6 friends taken before (dry run), 7.. friends.
-- Result: also how many would be taken so far (dry run).
-- Invariant: a user's fans are those who have the user in their lists and are not in the user's.
-- include begin
-- include verdicts
-- include track
-- include warn
local most, one_way, me = limit(limits), ARGV[4] == '1', ARGV[5]
local before, have = redis.call('SCARD', KEYS[2]), redis.call('SMISMEMBER', KEYS[2], unpack(ARGV, 7))
local mine, seen, new, places = before + ARGV[6], {}, {}, 0
for i = 7, #ARGV do
  local friend, list = ARGV[i], KEYS[2 * i - 10]
  local has_me = redis.call('SISMEMBER', list, me) == 1
  local mine_grows, theirs_grows = have[i - 6] == 0, not one_way and not has_me
  if seen[friend] or not (mine_grows or theirs_grows) then
    say('H')
  else
    local note, theirs = '', 0
    if mine_grows and mine >= most then note = 'f' .. mine end
    if theirs_grows then
      theirs = redis.call('SCARD', list)
      if theirs >= most then note = note .. 'p' .. theirs end
    end
    if judge(note) then
      if mine_grows then mine = mine + 1 end
      places = places + (mine_grows and 1 or 0) + (theirs_grows and 1 or 0)
      seen[friend], new[#new + 1] = true, {i, mine_grows, theirs_grows, has_me, theirs}
    end
  end
end
if aborts() then return answer(0) end
if exceeds_facts(places) then return {now, 'facts_full'} end
if mode ~= 'C' and #new > 0 then
  count_write(places)
  for _, one in ipairs(new) do
    local i, mine_grows, theirs_grows, has_me, theirs = unpack(one)
    local friend, list, fans = ARGV[i], KEYS[2 * i - 10], KEYS[2 * i - 9]
    if mine_grows then redis.call('SADD', KEYS[2], friend) end
    if theirs_grows then
      redis.call('SADD', list, me)
      risen('f' .. friend, theirs, theirs + 1, most)
    end
    if has_me then
      redis.call('SREM', KEYS[3], friend)
    elseif theirs_grows then
      redis.call('SREM', fans, me)
    else
      redis.call('SADD', fans, me)
    end
  end
end
if mode ~= 'C' then risen('f' .. me, before, mine, most) end
if mode ~= 'C' and tracks() then
  track(allowed(7, me .. ' ', ''))
  if not one_way then track(allowed(7, '', ' ' .. me)) end
end
return answer(mine - redis.call('SCARD', KEYS[2]))
