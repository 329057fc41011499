#!lua flags=no-writes
-- The store's format, fingerprint key and generation. KEYS: 1 identity.
-- Answer: time in ms, format, key, generation, 'all' once all its marks were written ('' each where
-- there is none).
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local fields = {'format', 'fingerprint_key', 'generation', 'marks'}
local known = redis.call('HMGET', KEYS[1], unpack(fields))
return {now, known[1] or '', known[2] or '', known[3] or '', known[4] or ''}
