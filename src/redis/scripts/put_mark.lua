#!lua
-- Gives a slot its mark, unless it has one. KEYS: 1 the mark. ARGV: 1 generation.
-- Result: the generation that the mark carries now.
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('SET', KEYS[1], ARGV[1]) end
return redis.call('GET', KEYS[1])
