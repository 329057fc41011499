#!lua
-- What becomes of an app that was looked at, unless it was in use meanwhile.
-- KEYS: 1 unknown apps ('#': how many). ARGV: 1 app, 2 since when it was not known to be in use, 3
-- '1': it has facts, '0': it does not count any more. Answer: 1 where it was removed, else 0.
-- include mark
-- include now
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
if ARGV[3] == '1' then
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%d', now))
  return 0
end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HINCRBY', KEYS[1], '#', -1)
return 1
