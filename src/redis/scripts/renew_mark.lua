#!lua
-- Gives a slot the mark of a new generation. KEYS: 1 the mark. ARGV: 1 generation.
redis.call('SET', KEYS[1], ARGV[1])
return 1
