#!lua flags=no-writes
-- Reads counts. KEYS: 1 limits, then by ARGV[4]: 'set' a set; 'number' a number; 'group' a group
-- and its members; 'hashes' any hashes, as lists of fields and values.
-- Result: also the whole schedule ('' if there is none), then the values.
-- include begin
-- include verdicts
-- include types
say('A')
local schedule, what = redis.call('HGET', KEYS[1], 'json') or '', ARGV[4]
if what == 'set' then return answer(schedule, redis.call('SCARD', KEYS[2])) end
if what == 'number' then return answer(schedule, tonumber(redis.call('GET', KEYS[2]) or 0)) end
if what == 'hashes' then
  local hashes = {}
  for i = 2, #KEYS - 1 do hashes[i - 1] = redis.call('HGETALL', KEYS[i]) end
  return answer(schedule, unpack(hashes))
end
local leaving, own, name = read_group(KEYS[2])
if not name or leaving == '!' then return {now, 'group_not_found'} end
return answer(schedule, name, own, redis.call('SCARD', KEYS[3]))
