-- Refuses a take beyond the facts of an unregistered app, or those in records of holds, before the
-- first write. Needs new_facts: how many facts are taken anew.
if exceeds_facts(new_facts) then
-- include due
  return {now, 'facts_full'}
end
if exceeds_holds() then return {now, 'holds_full'} end
