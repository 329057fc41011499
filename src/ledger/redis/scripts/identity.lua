#!lua flags=no-writes
-- The store's format and fingerprint key. KEYS: 1 identity.
-- Answer: time in ms, format, key ('' where there is none).
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('HMGET', KEYS[1], 'format', 'fingerprint_key')
return {now, known[1] or '', known[2] or ''}
