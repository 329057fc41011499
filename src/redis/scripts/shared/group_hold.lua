-- Writes the hold of create_group.lua, and makes the group held or permanent. A held group is held
-- for as long as its members are.
local function write_group_hold()
  local is_joined = false
  for i = has_owner and 1 or 2, #said do is_joined = is_joined or (joins and said[i] ~= 'D') end
  if is_joined then exists(1, group_fact) end
  if is_held and how ~= 'T' and (is_joined or not joins) then
    keep_group(KEYS[2], name, own, ARGV[5])
  end
  write_take(states)
  if how ~= 'T' or not (is_held or not exists_already) then return end
  if not exists_already then redis.call('HSET', holds_key, 'g' .. ARGV[5], day .. ' ' .. name) end
  local expiry = redis.call('ZSCORE', expiry_key, group_fact)
  redis.call('SET', KEYS[2], own .. ' ' .. name .. '@' .. expiry)
end
