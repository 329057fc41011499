#!lua flags=no-writes
-- Some of a server's keys that look like a pattern, without a key of its own: what lies under them
-- is read by a script that checks the mark. ARGV: 1 cursor, 2 pattern, 3 how many keys to look at.
-- Answer: the next cursor and the keys.
return redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
