#!lua
-- Starts to track changes, takes and releases alike, and discards earlier ones.
-- KEYS: 1 the period, 2 the tracked changes. ARGV: 1 since, 2 until, in ms.
-- The set exists as long as changes are tracked.
-- include mark
redis.call('UNLINK', KEYS[2])
redis.call('SADD', KEYS[2], 'since ' .. ARGV[1])
redis.call('PEXPIREAT', KEYS[2], ARGV[2])
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[2])
redis.call('PEXPIREAT', KEYS[1], ARGV[2])
return 1
