#!lua flags=no-writes
-- Checks whether these limits of an app, or later ones, are stored. KEYS: 1 limits.
-- ARGV: 1 revision, 2 whole schedule. Result: 0, 1.
-- include mark
local revision = tonumber(redis.call('HGET', KEYS[1], 'revision') or 0)
if revision ~= tonumber(ARGV[1]) then return revision > tonumber(ARGV[1]) and 1 or 0 end
if not redis.call('HGET', KEYS[1], 'past') then return 0 end
return redis.call('HGET', KEYS[1], 'json') == ARGV[2] and 1 or 0
