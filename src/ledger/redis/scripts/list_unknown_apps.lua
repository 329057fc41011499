#!lua flags=no-writes
-- Apps that nobody registered and that were not known to be in use for so long, each with the
-- instant since when. KEYS: 1 unknown apps ('#': how many). ARGV: 1 for how long, in ms.
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
