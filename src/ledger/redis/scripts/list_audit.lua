#!lua flags=no-writes
-- Entries of the audit log.
-- KEYS: 1 and 2 unused, 3 audit log. ARGV: 1 how many lie before (-1: the last one), 2 how many.
-- include mark
return redis.call('LRANGE', KEYS[3], ARGV[1], ARGV[1] < '0' and -1 or ARGV[1] + ARGV[2] - 1)
