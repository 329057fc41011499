-- The bound on the facts in records of holds (take_hold.lua).
-- Returns how many facts this take adds to the records of holds.
local function added_facts()
  local added = 0
  for _, one in ipairs(taken) do
    if not own or string.sub(own.states, one[1], one[1]) == '-' then added = added + 1 end
  end
  return added
end
-- Returns whether there would be too many facts in the records. Called before the first write.
local function exceeds_holds()
  local added = how == 'T' and added_facts() - replaced or 0
  if added <= 0 then return false end
  return (redis.call('HGET', holds_key, 'n') or 0) + added > tonumber(third)
end
