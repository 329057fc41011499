#!lua
-- Adds friends to the user's list and, unless one way, the user to theirs.
-- KEYS: 1 limits, 2 list of the user, 3 the user's fans, then each friend's list and fans.
-- ARGV: 4 one way (0, 1), 5 user, 6 friends taken before (dry run), 7.. friends.
-- Result: also how many would be taken so far (dry run).
-- Invariant: a user's fans are those who have the user in their lists and are not in the user's.
-- include begin
-- include due_here
-- include verdicts
-- include take_hold
-- include track
-- include warn
local most, one_way, me = limit(limits), ARGV[4] == '1', ARGV[5]
local before, have = redis.call('SCARD', KEYS[2]), redis.call('SMISMEMBER', KEYS[2], unpack(ARGV, 7))
local mine, seen, new, places = before + ARGV[6], {}, {}, 0
-- include friend_sides
for i = 7, #ARGV do
  local friend, list = ARGV[i], KEYS[2 * i - 10]
  local has_me = redis.call('SISMEMBER', list, me) == 1
  local first, one, other = 2 * i - 13, me .. ' ' .. friend, friend .. ' ' .. me
  local wants_mine, wants_theirs = wanted_sides(first)
  local mine_grows, theirs_grows = wants_mine and have[i - 6] == 0, wants_theirs and not has_me
  if seen[friend] then
    say('H')
  elseif not (mine_grows or theirs_grows) then
    say(meet_sides(first, one, other, wants_mine, wants_theirs))
  else
    local note, theirs = '', 0
    if mine_grows and mine >= most then note = 'f' .. mine end
    if theirs_grows then
      theirs = redis.call('SCARD', list)
      if theirs >= most then note = note .. 'p' .. theirs end
    end
    if judge(note) then
      if mine_grows then mine = mine + 1 end
      if wants_mine then (mine_grows and takes or exists)(first, one) end
      if wants_theirs then (theirs_grows and takes or exists)(first + 1, other) end
      places = places + (mine_grows and 1 or 0) + (theirs_grows and 1 or 0)
      seen[friend] = true
      new[#new + 1] = {i, mine_grows, theirs_grows, has_me, theirs, wants_mine or have[i - 6] == 1}
    elseif own then
      keep_sides(one, other)
    end
  end
end
if aborts() then return answer(0) end
local new_facts = places
-- include within_bounds
if mode ~= 'C' and #new > 0 then
-- include write_friends
end
if mode ~= 'C' then
  risen('f' .. me, before, mine, most)
  write_take(2 * #ARGV - 12)
end
if mode ~= 'C' and tracks() then
  track(allowed(7, me .. ' ', ''))
  if not one_way then track(allowed(7, '', ' ' .. me)) end
end
return answer(mine - redis.call('SCARD', KEYS[2]))
