#!lua
-- Moves the position of a lease that is held. KEYS: 1 unused, 2 cursors.
-- ARGV: 1 lease, 2 holder, 3 position. Result: 1; 0 if another holder has it, or none.
-- include mark
-- include now
-- include skew
local held = redis.call('HMGET', KEYS[2], ARGV[1] .. '/holder', ARGV[1] .. '/until')
if held[1] ~= ARGV[2] or tonumber(held[2]) <= now then return 0 end
redis.call('HSET', KEYS[2], ARGV[1] .. '/position', ARGV[3])
return 1
