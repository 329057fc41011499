#!lua flags=no-writes
-- Returns the revision of an app's limits, 0 if it has none. KEYS: 1 limits.
-- include mark
return tonumber(redis.call('HGET', KEYS[1], 'revision') or 0)
