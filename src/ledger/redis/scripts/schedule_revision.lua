#!lua flags=no-writes
-- The revision of an app's limits, 0 where there are none. KEYS: 1 limits.
-- include mark
return tonumber(redis.call('HGET', KEYS[1], 'revision') or 0)
