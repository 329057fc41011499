-- Returns whether a fact ends unless it is confirmed (see holds.lua).
local function is_held(fact)
  return due and redis.call('HGET', holds_key, 'f' .. fact)
end
