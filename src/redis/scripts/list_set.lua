#!lua flags=no-writes
-- Returns a whole set. KEYS: 1 limits, 2 the set. Result: also its elements.
-- include begin
-- include verdicts
say('A')
return answer(redis.call('SMEMBERS', KEYS[2]))
