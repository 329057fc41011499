#!lua flags=no-writes
-- Since when and until when changes are remembered; '': they are not.
-- KEYS: 1 since when and until when, 2 what is remembered.
-- include mark
local tracking = redis.call('GET', KEYS[1]) or ''
local since = string.match(tracking, '^%S+')
if not since or redis.call('SISMEMBER', KEYS[2], 'since ' .. since) == 0 then return '' end
return tracking
