-- Writes the hold of a take (take_hold.lua) that has written its facts.
-- Returns those of a fact's holds whose records there are, and when the last of them expires.
local function known_refs(refs)
  local known, last = '', 0
  for line, number, of in string.gmatch(refs, '(%d+ (%d+) ([^\n]+)\n)') do
    local record = record_of(of)
    if record and record.number == number then
      known, last = known .. line, math.max(last, record.expiry)
    end
  end
  return known, last
end
local function write_new_hold(states)
  count_write()
  local record = own or {states = string.rep('-', states), digest = digest,
    number = string.format('%d%06d', now, writes % 1000000)}
  local fields, scores, added = {}, {}, added_facts()
  records[id], record.expiry = record, now + word * 1000
  local function score(fact, expiry)
    scores[#scores + 1], scores[#scores + 2] = string.format('%d', expiry), fact
  end
  for _, one in ipairs(taken) do
    local index, fact, refs = unpack(one)
    local known, last = known_refs(refs)
    set_state(record, index, 'h')
    looked_up[fact] = nil
    fields[#fields + 1] = 'f' .. fact
    fields[#fields + 1] = known .. index .. ' ' .. record.number .. ' ' .. id .. '\n'
    score(fact, math.max(last, record.expiry))
  end
  for _, one in ipairs(repeats) do
    local _, last = known_refs(one[2])
    score(one[1], last)
  end
  redis.call('HSET', holds_key, 'o' .. id, operation, unpack(fields))
  if not own then redis.call('HDEL', holds_key, 'm' .. id) end
  redis.call('ZADD', expiry_key, unpack(scores))
  redis.call('ZADD', expiry_key, records_from + record.expiry + kept, 'r' .. id)
  redis.call('HINCRBY', holds_key, 'n', added - replaced)
  is_moved, due = true, due or record.expiry
end
-- states: the number of states of the hold of this operation.
local function write_take(states)
  for _, fact in ipairs(permanent) do settle(fact, 'c') end
  if how == 'T' and #taken > 0 then write_new_hold(states) end
  if how == 'R' then
    count_write()
    for _, one in ipairs(taken) do
      if indexes[one[1]] > 0 then set_state(own, indexes[one[1]], 'c') end
    end
    redis.call('ZADD', expiry_key, records_from + now + kept, 'r' .. id)
  end
  write_holds()
end
