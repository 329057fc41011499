#!lua flags=no-writes
-- Returns the group types of which groups may exist. KEYS: 1 types in use. Result: their names.
-- include mark
return redis.call('SMEMBERS', KEYS[1])
