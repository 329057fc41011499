-- Finds the groups that end unless they are confirmed, and those that expired members leave empty.
-- KEYS: from 4 the groups of ARGV from 6, and their members. ARGV: 5 types.
-- Returns a word for each: a letter, the day of the take, and the type. e: a held group that has
-- expired, h: one that has not, r: a permanent one that is reclaimed with its last members. Or
-- nothing, and the groups that have to be added to KEYS.
local function groups_with_holds()
  local words, held, members, missing = {}, {}, {}, {}
  local facts = due and redis.call('ZRANGEBYSCORE', expiry_key, '-inf', '(4e15', 'WITHSCORES') or {}
  for i = 1, #facts, 2 do
    local of, group = string.match(facts[i], '^(%a)(%S+)')
    local is_due = has_expired(facts[i + 1])
    if of == 'z' then held[group] = is_due and 'e' or 'h' end
    if of == 'm' and is_due then members[group] = (members[group] or 0) + 1 end
  end
  for i = 6, #ARGV do
    local group, of = ARGV[i], members[ARGV[i]]
    local leaving, own, name = read_group(KEYS[2 * i - 8])
    local kind = name and rules(ARGV[5], name)
    local reclaims = leaving == '!' or (kind and kind.reclaim)
    if of and reclaims and redis.call('SCARD', KEYS[2 * i - 7]) == of then
      if held[group] then held[group] = 'e' else words[#words + 1] = 'r0/' .. name end
    end
    members[group] = nil
  end
  for group in pairs(members) do
    if held[group] ~= 'e' then missing[#missing + 1] = group end
  end
  for group, letter in pairs(held) do
    local of = redis.call('HGET', holds_key, 'g' .. group)
    if of then words[#words + 1] = letter .. string.gsub(of, ' ', '/', 1) end
  end
  return #missing == 0 and words, table.concat(missing, ';')
end
