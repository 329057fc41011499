#!lua
-- Gives the store a format, a fingerprint key, a generation and an id, each only once.
-- KEYS: 1 identity. ARGV: 1 format, 2 key, 3 generation, 4 id.
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], 'format', ARGV[1], 'fingerprint_key', ARGV[2])
end
redis.call('HSETNX', KEYS[1], 'generation', ARGV[3])
redis.call('HSETNX', KEYS[1], 'id', ARGV[4])
return 1
