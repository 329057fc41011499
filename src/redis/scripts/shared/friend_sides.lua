-- The sides of a friendship in add_friends.lua: the entry in the user's list, and the one in the
-- friend's. Of an expired hold only those are taken anew that it had. Needs take_hold.lua.
local function wanted_sides(first)
  if how == 'R' then return indexes[first] > 0, indexes[first + 1] > 0 end
  return true, not one_way
end
-- Returns the letter of a friendship of which every wanted side exists.
local function meet_sides(first, one, other, wants_mine, wants_theirs)
  look_up(one, wants_theirs and other or one)
  local letter = wants_mine and exists(first, one) or 'H'
  return wants_theirs and exists(first + 1, other) == 'R' and 'R' or letter
end
-- Called for a friendship that is denied: the hold that is repeated may have a side of it.
local function keep_sides(one, other)
  repeats_it(one, refs_of(one) or '')
  if not one_way then repeats_it(other, refs_of(other) or '') end
end
