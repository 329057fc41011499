-- As due.lua, with those expired facts alone whose user, friend or group the arguments name. Behind
-- 4096 others it looks no further and has the first ones removed.
if expired > 0 then
  local named, facts = {}, {}
  local all = redis.call('ZRANGEBYSCORE', expiry_key, '-inf', now, 'LIMIT', 0, 4096)
  -- A fact may begin with a letter, and an argument may be a fact.
  for i = 4, #ARGV do
    for word in string.gmatch(ARGV[i], '%S+') do
      named[word], named[string.sub(word, 2)] = true, true
    end
  end
  named[''] = nil
  for _, fact in ipairs(all) do
    local one, other = string.match(fact, '^(%S+) ?(%S*)$')
    if one and #facts < 256 and (named[one] or named[string.sub(one, 2)] or named[other]) then
      facts[#facts + 1] = fact
    end
  end
  if #facts == 0 and expired > #all then
    for i = 1, 256 do facts[i] = all[i] end
  end
  if #facts > 0 then return {now, 'due', table.concat(facts, ';')} end
end
