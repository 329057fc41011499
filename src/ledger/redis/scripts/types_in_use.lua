#!lua flags=no-writes
-- The group types of which there may be groups. KEYS: 1 types in use. Answer: their names.
-- include mark
return redis.call('SMEMBERS', KEYS[1])
