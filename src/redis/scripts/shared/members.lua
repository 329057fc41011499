-- Adds users to the group ARGV[5], whose members are KEYS[3]. A user has two cells, next to each
-- other in KEYS: groups that count for the user, and groups that do not. Needs warn.lua,
-- take_hold.lua.
-- include generation
local per_user, per_group = string.match(limits, '^(%S+) (%S+)')
per_user, per_group = limit(per_user), limit(per_group)
-- Returns how many members a group may have: what is sold for its type stands instead of what is
-- sold for all.
local function cap_of(kind, name, own)
  local sold = per_group
  if flag ~= '0' then
    local _, at = string.find(limits, ' m/' .. name .. '=', 1, true)
    if at then sold = limit(string.match(limits, '^%S+', at + 1)) end
  end
  return math.min(kind.cap, sold, limit(own))
end
local seen, new, used, most = {}, {}, 0, 0
local function in_the_way(kind, key)
  local note, groups = '', 0
  if kind.tracked then
    if kind.counts then
      groups = redis.call('SCARD', KEYS[key])
      if groups >= per_user then note = 'u' .. groups end
    end
    if used >= most then note = note .. 'm' .. used end
  end
  return note, groups
end
local function plan(kind, user, key, groups, index)
  -- Members who are not tracked end their hold all the same.
  if kind.tracked or how == 'R' then takes(index, 'm' .. ARGV[5] .. ' ' .. user) end
  if kind.tracked then
    seen[user] = true
    used = used + 1
    new[#new + 1] = {user, key, groups}
  end
end
-- index: that of the member in the hold.
local function take_in(kind, user, key, held, index)
  if kind.tracked and seen[user] then
    say('H')
  elseif kind.tracked and held == 1 then
    say(exists(index, 'm' .. ARGV[5] .. ' ' .. user))
  else
    local note, groups = in_the_way(kind, key)
    if judge(note) then plan(kind, user, key, groups, index) end
  end
end
local function write_members(kind)
  if mode == 'C' or #new == 0 then return end
  count_write(#new)
  local users = {}
  for i, one in ipairs(new) do
    users[i] = one[1]
    redis.call('SADD', KEYS[kind.counts and one[2] or one[2] + 1], ARGV[5])
    if kind.counts then risen('u' .. one[1], one[3], one[3] + 1, per_user) end
  end
  redis.call('SADD', KEYS[3], unpack(users))
  risen('m' .. ARGV[5], used - #new, used, most)
end
