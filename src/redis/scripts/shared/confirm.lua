-- Makes facts of a hold permanent that it still has. ARGV[4]: the hold, ARGV[5] 'NUMBER STATES KEPT
-- AT': AT is the instant of the confirmation, '-' is now, 'over': what is left of it has ended, as
-- its group has. ARGV from 6, or from 8 if there are days: the facts by their index. Needs holds.lua.
local id, number, states, kept, at = ARGV[4], string.match(ARGV[5], '^(%S+) (%S+) (%S+) (%S+)$')
local own = record_of(id)
if not own or own.number ~= number or own.states ~= states then return {now, 'hold_changed'} end
-- The group that is joined is no fact that the operation names.
local first = string.sub(id, 1, 1) == 'J' and 2 or 1
local named = string.sub(states, first)
local in_time, is_over = (tonumber(at) or math.huge) < own.expiry, at == 'over'
if not in_time then
-- include due_here
end
local is_late = now >= own.expiry and not in_time and not is_skewed
if is_late and not is_over and string.find(named, 'h', 1, true) then return {now, 'expired'} end
if is_over then
  own.states = string.sub(states, 1, first - 1) .. string.gsub(named, 'h', 'o')
  own.is_changed = true
end
local function confirm(fact, index)
  if is_over or index < first then return false end
  local refs = refs_of(fact) or ''
  for place, of_number, of in string.gmatch(refs, '(%d+) (%d+) ([^\n]+)\n') do
    if tonumber(place) == index and of_number == number and of == id then
      return settle(fact, 'c')
    end
  end
  return false
end
local function write_confirmation()
  count_write()
  redis.call('ZADD', expiry_key, records_from + now + kept, 'r' .. id)
  write_holds()
end
