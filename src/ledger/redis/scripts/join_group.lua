#!lua
-- Makes users members, in order.
-- KEYS: 1 limits, 2 group, 3 its members, then each user's two cells.
-- ARGV: 4 types, 5 group, 6 members taken before (check only), 7.. users.
-- Answer: also the group's type and its own limit.
-- include begin
-- include types
-- include warn
-- include members
-- include track
local leaving, own, name = read_group(KEYS[2])
if not name or leaving == '!' then return {now, 'group_not_found'} end
local kind = rules(ARGV[4], name)
if not kind then return {now, 'type_unknown', name} end
most = math.min(kind.cap, per_group, limit(own))
used = redis.call('SCARD', KEYS[3]) + ARGV[6]
local held = redis.call('SMISMEMBER', KEYS[3], unpack(ARGV, 7))
for i = 7, #ARGV do take_in(kind, ARGV[i], 2 * i - 10, held[i - 6]) end
write_members(kind)
if mode ~= 'C' and kind.tracked and tracks() then track(allowed(7, ARGV[5] .. ' ', '')) end
return answer(name, own)
