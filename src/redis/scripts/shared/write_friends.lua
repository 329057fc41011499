-- Writes the friendships that add_friends.lua has decided on.
count_write(places)
for _, one in ipairs(new) do
  local i, mine_grows, theirs_grows, has_me, theirs, is_mine = unpack(one)
  local friend, list, fans = ARGV[i], KEYS[2 * i - 10], KEYS[2 * i - 9]
  if mine_grows then redis.call('SADD', KEYS[2], friend) end
  if theirs_grows then
    redis.call('SADD', list, me)
    risen('f' .. friend, theirs, theirs + 1, most)
  end
  if not is_mine then
    redis.call('SADD', KEYS[3], friend)
  elseif has_me then
    redis.call('SREM', KEYS[3], friend)
  elseif theirs_grows then
    redis.call('SREM', fans, me)
  else
    redis.call('SADD', fans, me)
  end
end
