#!lua flags=no-writes
-- Reads events that follow a number, or from the oldest one that is kept.
-- KEYS: 1 events by number, 2 cursors, 3 index. ARGV: 1 after which number, 2 how many.
-- Result: numbers of the oldest event and of the last one, then of each event its number, itself,
-- and the kinds of those that were dropped right before it ('' none, '?' not recorded). Numbers of
-- dropped or lost events are skipped.
-- include mark
local ends = redis.call('HMGET', KEYS[2], 'oldest', 'head', 'indexed')
local oldest, head = tonumber(ends[1] or 1), tonumber(ends[2] or 0)
local indexed = math.max(tonumber(ends[3] or 0), oldest - 1)
-- include event_tree
local answer = {kept_after(0, '[123]') or math.min(indexed, head) + 1, head}
local number, most = tonumber(ARGV[1]), 2 + 3 * ARGV[2]
local gone = ''
while #answer < most do
  local found = kept_after(number, '[123]')
  if not found then break end
  number = found
  local field = string.format('%d', number)
  local event = redis.call('HGET', KEYS[1], field)
  -- A version without an index may have dropped it.
  if event then
    local kinds = redis.call('HGET', KEYS[3], 'g/' .. field) or gone
    for _, part in ipairs({number, event, kinds}) do answer[#answer + 1] = part end
    gone = ''
  else
    gone = '?'
  end
end
-- Events that a version without an index has appended.
number = math.max(number, indexed)
while number < head and #answer < most do
  number = number + 1
  local event = redis.call('HGET', KEYS[1], string.format('%d', number))
  if event then
    for _, part in ipairs({number, event, gone}) do answer[#answer + 1] = part end
  end
end
return answer
