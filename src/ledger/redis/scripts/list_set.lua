#!lua flags=no-writes
-- Everything in a set. KEYS: 1 limits, 2 the set. Answer: also its elements.
-- include begin
-- include verdicts
say('A')
return answer(redis.call('SMEMBERS', KEYS[2]))
