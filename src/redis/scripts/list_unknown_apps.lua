#!lua flags=no-writes
-- Lists unregistered apps that were not found to be in use for some time, each with the instant of
-- the last use. KEYS: 1 unknown apps ('#': their number). ARGV: 1 the time in ms.
-- include mark
-- include now
local apps, answer = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #apps, 2 do
  if apps[i] ~= '#' and now - apps[i + 1] >= tonumber(ARGV[1]) then
    answer[#answer + 1] = apps[i]
    answer[#answer + 1] = apps[i + 1]
  end
end
return answer
