#!lua flags=no-writes
-- Events from the one after a number on, or from the oldest on that is kept.
-- KEYS: 1 events by number, 2 cursors. ARGV: 1 after which number, 2 how many.
-- Answer: numbers of the oldest event and of the last one, then each event behind its number. Numbers
-- are passed over where events were lost.
-- include mark
local ends = redis.call('HMGET', KEYS[2], 'oldest', 'head')
local oldest, head = tonumber(ends[1] or 1), tonumber(ends[2] or 0)
local number = math.max(tonumber(ARGV[1]) + 1, oldest)
local answer = {oldest, head}
while number <= head and #answer < 2 + 2 * ARGV[2] do
  local event = redis.call('HGET', KEYS[1], string.format('%d', number))
  if event then
    answer[#answer + 1] = number
    answer[#answer + 1] = event
  end
  number = number + 1
end
return answer
