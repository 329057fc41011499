#!lua
-- Decides joins and leaves of one user each: see shared/coalesced.lua.
-- KEYS: 1 limits, then each operation's group, its members, and the user's two cells.
-- ARGV: 4 types, then each operation's kind (J or L), group and user.
-- Detail of a denial: the group's record.
-- include begin
-- include coalesced
local per_user, per_group = string.match(limits, '^(%S+) (%S+)')
local user_most, kinds = tonumber(per_user) or math.huge, {}
-- Reads a record, the first time that it is found.
local function kind_of(record)
-- include plain_group
  kinds[record] = {most or false, is_counted}
  return kinds[record]
end
-- The last member's leave may reclaim the group, and is left.
local function leave(members_key, keys, group, user)
  if redis.call('SISMEMBER', members_key, user) == 0 then return 'N' end
  if redis.call('SCARD', members_key) <= 1 + expired then return nil end
  if is_held('m' .. group .. ' ' .. user) then return nil end
  local was_counted = redis.call('SREM', KEYS[keys + 2], group) == 1
  if not was_counted then redis.call('SREM', KEYS[keys + 3], group) end
  redis.call('SREM', members_key, user)
  writes = writes or redis.call('INCRBY', writes_key, 1)
  return 'A'
end
return decide_all(function(number, at)
  local keys, group, user = 4 * number + 2, ARGV[at + 1], ARGV[at + 2]
  local record, members_key = redis.call('GET', KEYS[keys]) or '', KEYS[keys + 1]
  local kind = kinds[record] or kind_of(record)
  local most, is_counted = kind[1], kind[2]
  if not most then return nil end
  if string.byte(ARGV[at]) ~= 74 then return leave(members_key, keys, group, user) end
  local groups_key = is_counted and KEYS[keys + 2] or KEYS[keys + 3]
  local groups_most = is_counted and user_most or math.huge
  local members = redis.call('SCARD', members_key)
-- include plain_join
  return letter, note, record
end, 5, 3)
