#!lua
-- Gives the store a format and a fingerprint key, once. KEYS: 1 identity. ARGV: 1 format, 2 key.
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], 'format', ARGV[1], 'fingerprint_key', ARGV[2])
end
return 1
