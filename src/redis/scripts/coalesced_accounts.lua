#!lua
-- Decides creations of one account each: see shared/coalesced.lua.
-- KEYS: 1 limits, 2 number of accounts, then each user's bucket.
-- ARGV: each operation's kind (C) and user.
-- include begin
-- include coalesced
-- include quiet
local most, used = tonumber(limits) or math.huge, tonumber(redis.call('GET', KEYS[2]) or 0)
return decide_all(function(number, at)
  local bucket, user = KEYS[number + 3], ARGV[at + 1]
  if redis.call('SISMEMBER', bucket, user) == 1 then return not is_held(user) and 'H' or nil end
  if used >= most then return 'D', 'a' .. used end
  if not stays('a', used, most) then return nil end
  writes = writes or redis.call('INCRBY', writes_key, 1)
  redis.call('SADD', bucket, user)
  used = redis.call('INCRBY', KEYS[2], 1)
  return 'A'
end, 4, 2)
