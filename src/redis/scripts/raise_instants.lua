#!lua
-- Raises instants. KEYS: notes.lua. ARGV: 1 instant in ms, 2 ms for which it is kept, 3 most notes,
-- 4.. names. Result: 1; 0 if there is no room.
-- include mark
-- include now
-- include notes
local till = now + tonumber(ARGV[2])
if not has_room(#ARGV - 3, tonumber(ARGV[3])) then return 0 end
for i = 4, #ARGV do
  local name = ARGV[i]
  local standing, standing_till = note(name)
  if not standing or tonumber(standing) < tonumber(ARGV[1]) then
    keep(name, ARGV[1], math.max(till, standing_till))
  elseif standing_till < till then
    keep(name, standing, till)
  end
end
expire_keys(till)
return 1
