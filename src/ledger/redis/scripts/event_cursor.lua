#!lua flags=no-writes
-- Where a cursor is. KEYS: 1 unused, 2 cursors. ARGV: 1 its name. Answer: nil where it was not set.
-- include mark
return redis.call('HGET', KEYS[2], ARGV[1])
