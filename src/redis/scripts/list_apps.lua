#!lua flags=no-writes
-- Lists apps in the order of their ids, each followed by its document.
-- KEYS: 1 documents, 2 index. ARGV: 1 from ('-', or '[' or '(' and an app), 2 how many.
-- include mark
local apps = redis.call('ZRANGEBYLEX', KEYS[2], ARGV[1], '+', 'LIMIT', 0, ARGV[2])
local answer = {}
for _, app in ipairs(apps) do
  answer[#answer + 1] = app
  answer[#answer + 1] = redis.call('HGET', KEYS[1], app)
end
return answer
