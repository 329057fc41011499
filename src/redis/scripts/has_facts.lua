#!lua flags=no-writes
-- Checks whether a part of an app has facts, if the app has no limits of its own. A part to which a
-- version without a count of facts has written counts as having facts.
-- KEYS: 1 limits, 2 counter of writes, then figures that count as facts. Result: 0, 1, or 2 if the
-- app has limits of its own.
-- include mark
local own = redis.call('HMGET', KEYS[1], 'line', 'facts')
if own[1] then return 2 end
local facts = own[2] or redis.call('GET', KEYS[2]) or 0
if tonumber(facts) > 0 then return 1 end
for i = 3, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then return 1 end
end
return 0
