#!lua flags=no-writes
-- Events from the one after a number on, or from the oldest on that is kept.
-- KEYS: 1 events by number, 2 cursors. ARGV: 1 after which number, 2 how many.
-- Answer: numbers of the oldest event, of the last one and of the first one that follows, then events.
-- include mark
local ends = redis.call('HMGET', KEYS[2], 'oldest', 'head')
local oldest, head = tonumber(ends[1] or 1), tonumber(ends[2] or 0)
local first = math.max(tonumber(ARGV[1]) + 1, oldest)
local answer = {oldest, head, first}
for number = first, math.min(head, first + tonumber(ARGV[2]) - 1) do
  answer[#answer + 1] = redis.call('HGET', KEYS[1], string.format('%d', number))
end
return answer
