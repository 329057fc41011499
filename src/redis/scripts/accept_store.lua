#!lua
-- Gives a store that lost its facts a new generation. Its marks are not written yet.
-- KEYS: 1 identity. ARGV: 1 the generation that was found ('' if none), 2 format, 3 fingerprint
-- key, 4 new generation, 5 id, 6 earlier generations, 7 request.
-- Result: 1; 0 if the store has another generation meanwhile, and nothing was done.
if (redis.call('HGET', KEYS[1], 'generation') or '') ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'format', ARGV[2], 'fingerprint_key', ARGV[3], 'generation', ARGV[4],
  'id', ARGV[5], 'previous', ARGV[6], 'accepted', ARGV[7])
return 1
