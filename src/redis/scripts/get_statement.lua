#!lua flags=no-writes
-- Returns a final statement. KEYS: 1-3 unused, 4 statements. ARGV: 1 app and month.
-- Result: the statement; '' if there is none.
-- include mark
return redis.call('HGET', KEYS[4], ARGV[1]) or ''
