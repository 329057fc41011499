#!lua
-- Adds users to a group, in order.
-- KEYS: 1 limits, 2 group, 3 its members, then each user's two cells.
-- ARGV: 4 types, 5 group, 6 position of the step (see generation.lua), 7.. users.
-- Result: also the group's type, its own limit and its generation.
-- include begin
-- Most joins are of one user whose counts stay below those that warn.lua checks. For such a user
-- every limit is checked before the first write, and the rest of the script is skipped.
local is_plain = mode == 'E' and not stopped and not is_astray and not facts_max
if is_plain and not ARGV[8] and ARGV[6] == '0' then
  local own, name = string.match(redis.call('GET', KEYS[2]) or '', '^([^!]%S*) (.*)$')
  local _, found = string.find(ARGV[4], ';' .. (name or '') .. ' ', 1, true)
  if found then
    local cap, tracked, counts = string.match(ARGV[4], '^(%S+) (%d) (%d)', found + 1)
    local per_user, per_group = string.match(limits, '^(%S+) (%S+)')
    local huge, groups_key = math.huge, counts == '1' and KEYS[4] or KEYS[5]
    local most = math.min(tonumber(cap) or huge, tonumber(per_group) or huge, tonumber(own) or huge)
    local members = redis.call('SCARD', KEYS[3]) + 1
    local groups = (redis.call('SCARD', groups_key) + 1) * counts
    local far = members * 100 < most * 65 and groups * 100 < (tonumber(per_user) or huge) * 65
    if far and tracked == '1' and redis.call('EXISTS', KEYS[#KEYS]) == 0 then
      local held = redis.call('SADD', KEYS[3], ARGV[7]) == 0
      if held then
        writes = tonumber(redis.call('GET', writes_key) or 0)
      else
        redis.call('SADD', groups_key, ARGV[5])
        writes = redis.call('INCRBY', writes_key, 1)
      end
      return {now, writes, held and 'H' or 'A', '', '', name, own}
    end
  end
end
-- include verdicts
-- include types
-- include warn
-- include members
-- include track
local leaving, own, name = read_group(KEYS[2])
if is_later and (leaving == '!' or generation(name) ~= wanted) then
  return {now, 'group_replaced'}
end
if not name or leaving == '!' then return {now, 'group_not_found'} end
local kind = rules(ARGV[4], name)
if not kind then return {now, 'type_unknown', name} end
most = math.min(kind.cap, per_group, limit(own))
used = redis.call('SCARD', KEYS[3]) + taken_before
local held = redis.call('SMISMEMBER', KEYS[3], unpack(ARGV, 7))
for i = 7, #ARGV do take_in(kind, ARGV[i], 2 * i - 10, held[i - 6]) end
if exceeds_facts(#new) then return {now, 'facts_full'} end
write_members(kind)
if mode ~= 'C' and kind.tracked and tracks() then track(allowed(7, ARGV[5] .. ' ', '')) end
return answer(name, own, generation(name))
