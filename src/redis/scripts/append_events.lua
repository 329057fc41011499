#!lua
-- Appends events and moves a cursor, both or neither, and drops events beyond the bounds.
-- KEYS: 1 events by number, 2 cursors, 3 index. ARGV: 1 bounds (most limit events, most of them of
-- an app, changes that are kept at least, at most, and for how many ms), 2 cursor ('': none), 3 its
-- expected position ('': never set), 4 its new position, 5 another cursor ('': none), 6 its
-- expected position, 7 the highest number that the caller has observed, 8 the last number that the
-- caller found, and 9 the number after which to continue (both '': nothing is lost), 10 the event
-- of a loss, 11.. events.
-- Result: 1; 0 if a cursor is elsewhere; 2 if events that the caller has observed are lost; 3 if a
-- version without an index has appended more events, some of which were indexed now; with 0, 2 and
-- 3 nothing was appended; then the last number. Numbers count from 1, without gaps except for lost
-- events, and none is used twice.
-- include mark
-- include now
if ARGV[2] ~= '' then
-- include skew
end
local ends = redis.call('HMGET', KEYS[2], 'oldest', 'head', 'indexed')
local oldest, head = tonumber(ends[1] or 1), tonumber(ends[2] or 0)
local counts = redis.call('HMGET', KEYS[2], 'changes', 'limits')
for i = 2, 5, 3 do
  local expected = ARGV[i == 2 and 3 or 6]
  local there = ARGV[i] ~= '' and (redis.call('HGET', KEYS[2], ARGV[i]) or '')
  if there and there ~= expected then return {0, head} end
end
local is_lost = head < tonumber(ARGV[7])
if is_lost and (ARGV[8] == '' or tonumber(ARGV[8]) ~= head) then return {2, head} end
-- include event_bounds
local function write_ends(indexed)
  write_index()
  -- A version without an index reads and drops by the oldest number.
  oldest = math.max(oldest, head - 9999)
  local values = {oldest = oldest, head = head, indexed = indexed, changes = changes, limits = limits}
  for name, value in pairs(values) do
    redis.call('HSET', KEYS[2], name, string.format('%d', value))
  end
end
local indexed = math.max(tonumber(ends[3] or 0), oldest - 1)
local indexed_to = math.min(head, indexed + 1000)
for number = indexed + 1, indexed_to do
  local event = redis.call('HGET', KEYS[1], string.format('%d', number))
  if event then keep(number, event) end
end
if indexed_to < head then
  write_ends(indexed_to)
  return {3, head}
end
local function put(event)
  head = head + 1
  redis.call('HSET', KEYS[1], string.format('%d', head), event)
  keep(head, event)
end
if is_lost then
  head = tonumber(ARGV[9])
  put(ARGV[10])
end
for i = 11, #ARGV do put(ARGV[i]) end
write_ends(head)
if ARGV[2] ~= '' then redis.call('HSET', KEYS[2], ARGV[2], ARGV[4]) end
return {1, head}
