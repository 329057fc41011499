#!lua flags=no-writes
-- Returns some of a server's keys that match a pattern, without a key of its own: their values are
-- read by a script that checks the mark. ARGV: 1 cursor, 2 pattern, 3 how many keys to scan.
-- Result: the next cursor and the keys.
return redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
