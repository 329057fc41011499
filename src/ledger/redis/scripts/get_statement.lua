#!lua flags=no-writes
-- A final statement. KEYS: 1-3 unused, 4 statements. ARGV: 1 app and month.
-- Answer: the statement; '' where there is none.
-- include mark
return redis.call('HGET', KEYS[4], ARGV[1]) or ''
