#!lua
-- Decides additions and removals of one friend each: see shared/coalesced.lua.
-- KEYS: 1 limits, then each operation's list and fans of the user, and list and fans of the friend.
-- ARGV: each operation's kind, user and friend. Kinds: A and R add and remove at both
-- sides, a and r one way.
-- Lists are written last: both are known to be sets by then.
-- include begin
-- include coalesced
-- include quiet
local most = tonumber(limits) or math.huge
local function add(one_way, mine, my_fans, theirs, their_fans, me, friend)
  local has_me = redis.call('SISMEMBER', theirs, me) == 1
  local mine_grows = redis.call('SISMEMBER', mine, friend) == 0
  local theirs_grows = not one_way and not has_me
  if not mine_grows and is_held(me .. ' ' .. friend) then return nil end
  if not one_way and has_me and is_held(friend .. ' ' .. me) then return nil end
  if not (mine_grows or theirs_grows) then return 'H' end
  local before, note = redis.call('SCARD', mine), ''
  local theirs_before = theirs_grows and redis.call('SCARD', theirs)
  if mine_grows and before >= most then note = 'f' .. before end
  if theirs_grows and theirs_before >= most then note = note .. 'p' .. theirs_before end
  if note ~= '' then return 'D', note end
  if mine_grows and not stays('f' .. me, before, most) then return nil end
  if theirs_grows and not stays('f' .. friend, theirs_before, most) then return nil end
  if has_me then
    redis.call('SREM', my_fans, friend)
  else
    redis.call(theirs_grows and 'SREM' or 'SADD', their_fans, me)
  end
  if mine_grows then redis.call('SADD', mine, friend) end
  if theirs_grows then redis.call('SADD', theirs, me) end
  return 'A'
end
local function remove(one_way, mine, my_fans, theirs, their_fans, me, friend)
  local had = redis.call('SISMEMBER', mine, friend) == 1
  local has_me = redis.call('SISMEMBER', theirs, me) == 1
  if not had and (one_way or not has_me) then return 'N' end
  if is_held(me .. ' ' .. friend) or is_held(friend .. ' ' .. me) then return nil end
  if has_me and not one_way then
    redis.call('SREM', my_fans, friend)
    redis.call('SREM', theirs, me)
  elseif has_me then
    redis.call('SADD', my_fans, friend)
  else
    redis.call('SREM', their_fans, me)
  end
  if had then redis.call('SREM', mine, friend) end
  return 'A'
end
return decide_all(function(number, at)
  local keys, kind = 4 * number + 2, string.sub(ARGV[at], 1, 1)
  local decide = (kind == 'A' or kind == 'a') and add or remove
  local one_way = kind == 'a' or kind == 'r'
  local letter, note = decide(one_way, KEYS[keys], KEYS[keys + 1], KEYS[keys + 2], KEYS[keys + 3],
    ARGV[at + 1], ARGV[at + 2])
  if letter == 'A' then writes = writes or redis.call('INCRBY', writes_key, 1) end
  return letter, note
end, 4, 3)
