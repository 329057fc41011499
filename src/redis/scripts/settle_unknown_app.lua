#!lua
-- Keeps or removes an app whose facts were checked, unless it was in use meanwhile.
-- KEYS: 1 unknown apps ('#': their number). ARGV: 1 app, 2 its last use as listed, 3 '1': it has
-- facts, '0': it no longer counts. Result: 1 if it was removed, else 0.
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
