-- The holds of facts (holds.lua). What was looked up counts until it is written.
local looked_up = {}
-- Looks up two facts with one command.
local function look_up(one, other)
  if not due then return end
  local found = redis.call('HMGET', holds_key, 'f' .. one, 'f' .. other)
  looked_up[one], looked_up[other] = found[1], found[2]
end
local function refs_of(fact)
  if looked_up[fact] ~= nil then return looked_up[fact] end
  return due and redis.call('HGET', holds_key, 'f' .. fact)
end
