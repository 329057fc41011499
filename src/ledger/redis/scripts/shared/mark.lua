-- Stops where the mark of the slot does not carry the store's generation: what lies beside it is
-- not the store that the caller opened. Nothing has been written by then.
-- Takes its own off the ends. KEYS: the mark. ARGV: the generation, then the caller's clock in ms.
local mark = redis.call('GET', table.remove(KEYS))
local caller_now, generation = tonumber(table.remove(ARGV)), table.remove(ARGV)
if mark ~= generation then return redis.error_reply('STORELOST ' .. (mark or 'no mark')) end
