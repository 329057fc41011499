#!lua flags=no-writes
-- How many groups of each type an app has. KEYS: 1 groups by type. Answer: types and numbers.
-- include mark
return redis.call('HGETALL', KEYS[1])
