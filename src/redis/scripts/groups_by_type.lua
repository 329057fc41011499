#!lua flags=no-writes
-- Returns an app's number of groups by type. KEYS: 1 groups by type. Result: types and numbers.
-- include mark
return redis.call('HGETALL', KEYS[1])
