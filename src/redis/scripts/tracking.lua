#!lua flags=no-writes
-- Returns the period in which changes are tracked; '' if they are not.
-- KEYS: 1 the period, 2 the tracked changes.
-- include mark
local tracking = redis.call('GET', KEYS[1]) or ''
local since = string.match(tracking, '^%S+')
if not since or redis.call('SISMEMBER', KEYS[2], 'since ' .. since) == 0 then return '' end
return tracking
