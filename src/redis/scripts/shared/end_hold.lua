-- Ends facts that have expired, or those of one hold that is released. ARGV[5]: the hold, ARGV[6] its
-- number, ARGV[7] its states and the ms for which its record is kept, '' and '' and '' for facts
-- that have expired. Needs holds.lua.
local id, number = ARGV[5], ARGV[6]
local states, kept = string.match(ARGV[7], '^(%S+) (%d+)$')
local own = id ~= '' and record_of(id)
if id ~= '' then
-- include due_here
end
if id ~= '' and (not own or own.number ~= number or own.states ~= states) then
  return {now, 'hold_changed'}
end
-- Returns whether a fact has no hold any more, so that it has to be removed: it has expired, or
-- this was its last hold.
local function ends(fact, index)
  local refs = refs_of(fact)
  if own then set_state(own, tonumber(index), 'r') end
  if not refs then
    if not own then drop_refs(fact) end
    return false
  end
  local left, expiry = '', 0
  for line, of_number, of in string.gmatch(refs, '(%d+ (%d+) ([^\n]+)\n)') do
    local record = record_of(of)
    local is_this = of == id and of_number == number
    if record and record.number == of_number and not is_this and record.expiry > now then
      left, expiry = left .. line, math.max(expiry, record.expiry)
    end
  end
  if left == '' then
    drop_refs(fact)
    return true
  end
  redis.call('HSET', holds_key, 'f' .. fact, left)
  redis.call('ZADD', expiry_key, string.format('%d', expiry), fact)
  is_moved = true
  return false
end
local function write_end()
  if own then redis.call('ZADD', expiry_key, records_from + now + kept, 'r' .. id) end
  write_holds()
end
