#!lua flags=no-writes
-- Returns some of the server's keys that match a pattern. KEYS: 1 any key of the facts, for
-- routing.
-- ARGV: 1 cursor, 2 pattern, 3 how many keys to scan. Result: the next cursor and the keys.
-- include mark
return redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
