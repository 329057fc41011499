#!lua flags=allow-oom
-- Confirms a hold of accounts or friends. KEYS: 1 limits. ARGV: 4, 5, 6.. confirm.lua.
-- Result: also the hold's states.
-- include begin
-- include verdicts
-- include holds
-- include track
-- include confirm
local confirmed = {}
for i = 6, #ARGV do
  if confirm(ARGV[i], i - 5) then confirmed[#confirmed + 1] = ARGV[i] end
end
write_confirmation()
if tracks() then track(confirmed) end
say('A')
return answer(own.states)
