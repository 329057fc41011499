#!lua flags=no-writes
-- Some of the server's keys that look like a pattern. KEYS: 1 any key of the facts, for the way.
-- ARGV: 1 cursor, 2 pattern, 3 how many keys to look at. Answer: the next cursor and the keys.
-- include mark
return redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
