#!lua
-- Gives the store a higher format, which earlier versions refuse. KEYS: 1 identity.
-- ARGV: 1 generation, 2 format. Result: 1; 0 if the store has another generation.
if redis.call('HGET', KEYS[1], 'generation') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'format', ARGV[2])
return 1
