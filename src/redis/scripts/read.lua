#!lua flags=no-writes
-- Reads counts. KEYS: 1 limits, then by ARGV[4]: 'set' a set, whose facts are ARGV[5], an element
-- and ARGV[6]; 'number' the number of accounts,
-- and of logins by day, and by month, those of ARGV[5..7], and [8..10], as lists of fields and
-- values; 'group' a group and its members, ARGV[5] types,
-- ARGV[6] the group; 'groups' the groups by type and by day, and as read_groups.lua; 'hashes' any
-- hashes, as lists of fields and values.
-- Result: also the whole schedule ('' if there is none), then the values. Facts that have expired
-- are not counted; behind each count is how many of it are held.
-- include begin
-- include verdicts
-- include types
-- include read_holds
-- include read_groups
say('A')
local schedule, what = redis.call('HGET', KEYS[1], 'json') or '', ARGV[4]
if what == 'set' then
  local count, held = count_of(KEYS[2], ARGV[5], ARGV[6])
  return answer(schedule, count, held)
end
if what == 'number' then
  local expired, held = 0, 0
  if due then
    if not is_skewed then expired = redis.call('ZCOUNT', expiry_key, '-inf', now) end
    held = redis.call('ZCOUNT', expiry_key, '-inf', '(4e15') - expired
  end
  local active = {{}, {}}
  for i = 5, 10 do
    local of, key = active[i < 8 and 1 or 2], KEYS[i < 8 and 3 or 4]
    of[#of + 1], of[#of + 2] = ARGV[i], redis.call('HGET', key, ARGV[i]) or '0'
  end
  return answer(schedule, (redis.call('GET', KEYS[2]) or 0) - expired, held, active[1], active[2])
end
if what == 'hashes' or what == 'groups' then
  local hashes, last, missing = {}, what == 'groups' and 3 or #KEYS - 1, nil
  for i = 2, last do hashes[i - 1] = redis.call('HGETALL', KEYS[i]) end
  if what == 'groups' then
    hashes[3], missing = groups_with_holds()
    if not hashes[3] then return {now, 'groups_due', missing} end
  end
  return answer(schedule, unpack(hashes))
end
local leaving, own, name, expiry = read_group(KEYS[2])
local is_expired = name and expiry ~= '' and not is_skewed and now - string.sub(expiry, 2) >= 0
if not name or leaving == '!' or is_expired then return {now, 'group_not_found'} end
local members, held, expired = count_of(KEYS[3], 'm' .. ARGV[6] .. ' ', '')
local kind = rules(ARGV[5], name)
if members == 0 and expired > 0 and kind and kind.reclaim then return {now, 'group_not_found'} end
return answer(schedule, name, own, members, held)
