#!lua
-- Adds group types to those in use, or removes them. KEYS: 1 types in use.
-- ARGV: 1 '+' or '-', 2.. names of types.
-- include mark
if ARGV[1] == '+' then return redis.call('SADD', KEYS[1], unpack(ARGV, 2)) end
return redis.call('SREM', KEYS[1], unpack(ARGV, 2))
