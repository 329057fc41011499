#!lua
-- Appends events as the version before did, without the mark.
local ends = redis.call('HMGET', KEYS[2], 'oldest', 'head')
local oldest, head = tonumber(ends[1] or 1), tonumber(ends[2] or 0)
for i = 2, 5, 3 do
  local expected = ARGV[i == 2 and 3 or 6]
  local there = ARGV[i] ~= '' and (redis.call('HGET', KEYS[2], ARGV[i]) or '')
  if there and there ~= expected then return {0, head} end
end
local most = tonumber(ARGV[1])
local function put(event)
  head = head + 1
  redis.call('HSET', KEYS[1], string.format('%d', head), event)
end
if head < tonumber(ARGV[7]) then
  if ARGV[8] == '' or tonumber(ARGV[8]) ~= head then return {2, head} end
  -- What lies so far behind is not kept, and dropping it one by one would take long.
  if ARGV[9] - head >= most then
    redis.call('UNLINK', KEYS[1])
    oldest = ARGV[9] + 1
  end
  head = tonumber(ARGV[9])
  put(ARGV[10])
end
for i = 11, #ARGV do put(ARGV[i]) end
while head - oldest >= most do
  redis.call('HDEL', KEYS[1], string.format('%d', oldest))
  oldest = oldest + 1
end
redis.call('HSET', KEYS[2], 'oldest', string.format('%d', oldest))
redis.call('HSET', KEYS[2], 'head', string.format('%d', head))
if ARGV[2] ~= '' then redis.call('HSET', KEYS[2], ARGV[2], ARGV[4]) end
return {1, head}
