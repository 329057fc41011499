-- Stops if the mark of the slot does not carry the store's generation: the facts beside it are not
-- those of the store that the caller opened. Nothing has been written before that.
-- Removes its own from the ends. KEYS: the mark. ARGV: the generation, then the caller's clock in
-- ms.
local mark = redis.call('GET', table.remove(KEYS))
local caller_now, generation = tonumber(table.remove(ARGV)), table.remove(ARGV)
if mark ~= generation then return redis.error_reply('STORELOST ' .. (mark or 'no mark')) end
