#!lua flags=no-writes
-- Lists entries of the audit log. KEYS: 1 and 2 unused, 3 audit log.
-- ARGV: 1 how many entries to skip (-1: all but the last one), 2 how many to return.
-- include mark
return redis.call('LRANGE', KEYS[3], ARGV[1], ARGV[1] < '0' and -1 or ARGV[1] + ARGV[2] - 1)
