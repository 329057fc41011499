#!lua
-- Records that all marks of a generation are written. KEYS: 1 identity. ARGV: 1 generation.
-- Result: 1; 0 if the store has another generation.
if redis.call('HGET', KEYS[1], 'generation') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'marks', 'all')
return 1
