#!lua
-- Remembers from now on what is asked for or given back, and forgets what was.
-- KEYS: 1 since when and until when, 2 what is remembered. ARGV: 1 since, 2 until, in ms.
-- The set exists as long as anything is to be remembered.
-- include mark
redis.call('UNLINK', KEYS[2])
redis.call('SADD', KEYS[2], 'since ' .. ARGV[1])
redis.call('PEXPIREAT', KEYS[2], ARGV[2])
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[2])
redis.call('PEXPIREAT', KEYS[1], ARGV[2])
return 1
