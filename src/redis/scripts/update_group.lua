#!lua
-- Changes a group's own limit. KEYS: 1 limits, 2 group. ARGV: 4 types, 5 own limit ('-': none), 6
-- group.
-- include begin
-- include due_here
-- include verdicts
-- include types
-- include track
local leaving, own, name, expiry = read_group(KEYS[2])
if not name or leaving == '!' then return {now, 'group_not_found'} end
local kind = rules(ARGV[4], name)
if not kind then return {now, 'type_unknown', name} end
if ARGV[5] ~= '-' and not kind.tracked then return {now, 'not_tracked', name} end
if own ~= ARGV[5] then
  redis.call('SET', KEYS[2], ARGV[5] .. ' ' .. name .. expiry)
  count_write()
end
if tracks() then track({ARGV[6]}) end
say(own == ARGV[5] and 'H' or 'A')
return answer()
