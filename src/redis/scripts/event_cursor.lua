#!lua flags=no-writes
-- Returns the position of a cursor. KEYS: 1 unused, 2 cursors. ARGV: 1 its name. Result: nil if
-- unset.
-- include mark
return redis.call('HGET', KEYS[2], ARGV[1])
