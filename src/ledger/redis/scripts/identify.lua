#!lua
-- The store's format and fingerprint key, made once. KEYS: 1 identity. ARGV: 1 format, 2 new key
-- ('': do not make one). Answer: time in ms, format, key ('' where there is none).
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[2] ~= '' and redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], 'format', ARGV[1], 'fingerprint_key', ARGV[2])
end
local known = redis.call('HMGET', KEYS[1], 'format', 'fingerprint_key')
return {now, known[1] or '', known[2] or ''}
