#!lua flags=no-writes
-- Reads records of holds. KEYS: 1 limits. ARGV: 4.. holds. Result: also of each hold its record,
-- its operation, and the id that its group has now; '' if there is none.
-- include begin
-- include verdicts
local found = {}
for i = 4, #ARGV do
  local of = redis.call('HMGET', holds_key, 'r' .. ARGV[i], 'o' .. ARGV[i], 'm' .. ARGV[i])
  for column = 1, 3 do found[#found + 1] = of[column] or '' end
end
say('A')
return answer(unpack(found))
