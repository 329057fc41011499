#!lua
-- Counts an unregistered app, and records when it was in use.
-- KEYS: 1 unknown apps ('#': their number). ARGV: 1 app, 2 most apps, 3 '1': beyond that too.
-- Result: 1; 0 if there is no room.
-- include mark
-- include now
if not redis.call('HGET', KEYS[1], ARGV[1]) then
  local count = tonumber(redis.call('HGET', KEYS[1], '#') or 0)
  if ARGV[3] ~= '1' and count >= tonumber(ARGV[2]) then return 0 end
  redis.call('HINCRBY', KEYS[1], '#', 1)
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%d', now))
return 1
