-- Holds: facts of the part that end unless they are confirmed. A fact is 'USER', 'USER FRIEND',
-- 'mGROUP USER' or 'zGROUP'; HOLD is a letter for the kind of operation, and its id.
-- The hash holds_key has: 'f' FACT, the fact's holds in lines 'INDEX NUMBER HOLD'; 'r' HOLD, its
-- record 'EXPIRY NUMBER DIGEST STATES'; 'o' HOLD, its operation; 'm' HOLD, the id that its group was
-- moved to; 'g' GROUP, 'DAY TYPE' of a held group; 'n', the facts in records.
-- The set expiry_key has facts by expiry, and 'r' HOLD by records_from and when the record is
-- removed. The field 'due' of KEYS[1] is the first expiry of a fact.
-- NUMBER distinguishes successive holds of one id. States of a hold's facts, at their INDEX: '-' not
-- in it, h held or expired, c permanent, o ended otherwise, r released.
local records, is_moved, records_from = {}, false, 4e15
local function record_of(of)
  if records[of] == nil then
    local text = redis.call('HGET', holds_key, 'r' .. of) or ''
    local expiry, number, digest, states = string.match(text, '^(%d+) (%d+) (%S+) (%S+)$')
    records[of] = expiry and
      {expiry = tonumber(expiry), number = number, digest = digest, states = states} or false
  end
  return records[of]
end
local function set_state(record, index, state)
  local states = record.states
  record.states = string.sub(states, 1, index - 1) .. state .. string.sub(states, index + 1)
  record.is_changed = true
end
-- include refs
local function drop_refs(fact)
  looked_up[fact] = nil
  redis.call('HDEL', holds_key, 'f' .. fact)
  redis.call('ZREM', expiry_key, fact)
  is_moved = true
end
-- Ends every hold of a fact, which is permanent now (c) or removed (o).
local function settle(fact, state)
  local refs = refs_of(fact)
  if not refs then return false end
  for index, number, of in string.gmatch(refs, '(%d+) (%d+) ([^\n]+)') do
    local record = record_of(of)
    if record and record.number == number then set_state(record, tonumber(index), state) end
  end
  drop_refs(fact)
  return true
end
-- Called once, behind the last change.
local function write_holds()
  for of, record in pairs(records) do
    if record and record.is_changed then
      redis.call('HSET', holds_key, 'r' .. of, string.format('%d %s %s %s', record.expiry,
        record.number, record.digest, record.states))
    end
  end
  if not is_moved then return end
  local found = redis.call('ZRANGEBYSCORE', expiry_key, '-inf', '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  local first = tonumber(found[2]) or records_from
  if first < records_from then
    redis.call('HSET', KEYS[1], 'due', string.format('%d', first))
  else
    redis.call('HDEL', KEYS[1], 'due')
  end
end
