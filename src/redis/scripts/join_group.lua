#!lua
-- Adds users to a group, in order.
-- KEYS: 1 limits, 2 group, 3 its members, then each user's two cells.
-- ARGV: 4 types, 5 group, 6 position of the step (see generation.lua), 7.. users.
-- Result: also the group's type, its own limit and its generation.
-- include begin
-- Most joins are of one user and cross no threshold: they are decided without the rest of the
-- script.
local is_plain = mode == 'E' and not hold and not stopped and not is_astray and not facts_max
if is_plain and not ARGV[8] and ARGV[6] == '0' and redis.call('EXISTS', KEYS[#KEYS]) == 0 then
  local members_key, group, user = KEYS[3], ARGV[5], ARGV[7]
  local record = redis.call('GET', KEYS[2]) or ''
  local per_user, per_group = string.match(limits, '^(%S+) (%S+)')
-- include plain_group
  if most then
    local groups_key = is_counted and KEYS[4] or KEYS[5]
    local groups_most = is_counted and tonumber(per_user) or math.huge
    local members = redis.call('SCARD', members_key)
-- include plain_join
    -- What has expired may be what denies it.
    if letter and (letter ~= 'D' or expired == 0) then
      local segment = letter == 'D' and redis.call('HGET', KEYS[1], named .. part) or ''
      writes = writes or tonumber(redis.call('GET', writes_key) or 0)
      return {now, writes, letter, segment, note, name, own}
    end
  end
end
-- include due_here
-- include verdicts
-- include take_hold
-- include types
-- include warn
-- include members
-- include track
local leaving, own, name, expiry = read_group(KEYS[2])
if is_later and (leaving == '!' or generation(name) ~= wanted) then
  return {now, 'group_replaced'}
end
if not name or leaving == '!' then return {now, 'group_not_found'} end
local kind = rules(ARGV[4], name)
if not kind then return {now, 'type_unknown', name} end
-- What is taken in a held group concerns the group too: create_group.lua decides it.
if expiry ~= '' and kind.tracked then return {now, 'group_held', name} end
most = cap_of(kind, name, own)
used = redis.call('SCARD', KEYS[3]) + taken_before
local held = redis.call('SMISMEMBER', KEYS[3], unpack(ARGV, 7))
for i = 7, #ARGV do take_in(kind, ARGV[i], 2 * i - 10, held[i - 6], i - 5) end
if aborts() then return answer(name, own, '') end
local new_facts = #new
-- include within_bounds
write_members(kind)
if mode ~= 'C' then write_take(#ARGV - 5) end
if mode ~= 'C' and kind.tracked and tracks() then track(allowed(7, ARGV[5] .. ' ', '')) end
return answer(name, own, generation(name))
