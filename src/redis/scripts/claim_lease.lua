#!lua
-- Holds a lease for some time from now. KEYS: 1 unused, 2 cursors.
-- ARGV: 1 lease, 2 holder, 3 the time in ms.
-- Result: its position; -1 if it has none; -2 if another holder has it, by the server's clock.
-- include mark
-- include now
-- include skew
local names = {ARGV[1] .. '/position', ARGV[1] .. '/holder', ARGV[1] .. '/until'}
local held = redis.call('HMGET', KEYS[2], unpack(names))
-- A lease that ends later than any claimed now was claimed by a clock that was ahead.
local ends = tonumber(held[3] or 0)
local is_held = now < ends and ends <= now + ARGV[3] + 300000
if held[2] and held[2] ~= ARGV[2] and is_held then return -2 end
redis.call('HSET', KEYS[2], names[2], ARGV[2])
redis.call('HSET', KEYS[2], names[3], string.format('%d', now + tonumber(ARGV[3])))
return tonumber(held[1] or -1)
