-- The hold of a take, behind its mode: 'T SECONDS DIGEST MOST KEPT HOLD', with the operation at the
-- end of ARGV; or, to take facts of an expired hold anew, 'R NUMBER STATES INDEXES KEPT HOLD', with
-- the index of each fact of this take there, or 0. MOST facts of a part, KEPT ms for its record.
-- include holds
-- Returns how many facts a record has.
local function facts_in(states) return select(2, string.gsub(states, '[^-]', '')) end
local how, word, digest, third, kept, id = string.match(hold or '',
  '^(%a) (%S+) (%S+) (%S+) (%S+) (.+)$')
local own, operation, replaced = how and record_of(id), nil, 0
local taken, repeats, permanent, indexes, joined = {}, {}, {}, {}, {}
if how == 'T' then
  operation = table.remove(ARGV)
  if is_skewed then
    return redis.error_reply('CLOCKSKEW ' .. math.floor(math.abs(now - caller_now) / 1000))
  end
  if own and (now >= own.expiry or not string.find(own.states, 'h', 1, true)) then
    own, replaced = false, facts_in(own.states)
  end
  if own and own.digest ~= digest then return {now, 'hold_differs'} end
elseif how == 'R' then
  if not own or own.number ~= word or own.states ~= digest then return {now, 'hold_changed'} end
  for index in string.gmatch(third, '%d+') do indexes[#indexes + 1] = tonumber(index) end
end
-- Called for a fact that is taken.
local function takes(index, fact)
  if how then taken[#taken + 1] = {index, fact, ''} end
end
-- Returns whether the hold that is repeated has a fact, which then ends no earlier than it.
local function repeats_it(fact, refs)
  for number, of in string.gmatch(own and refs or '', '%d+ (%d+) ([^\n]+)\n') do
    if number == own.number and of == id then
      repeats[#repeats + 1] = {fact, refs}
      return true
    end
  end
  return false
end
-- Called for a fact that exists. Returns its letter: H, or R if this hold has it.
local function exists(index, fact)
  local refs = refs_of(fact)
  if how == 'T' and refs then
    if repeats_it(fact, refs) then return 'R' end
    -- A repeat in the batch is none of this hold.
    if not joined[fact] then taken[#taken + 1] = {index, fact, refs} end
    joined[fact] = true
  elseif how ~= 'T' then
    if refs then permanent[#permanent + 1] = fact end
    takes(index, fact)
  end
  return 'H'
end
-- include hold_bound
-- include write_hold
