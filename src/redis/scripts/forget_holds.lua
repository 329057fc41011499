#!lua flags=allow-oom
-- Removes records of holds whose time is over. KEYS: 1 limits. ARGV: 4.. 'r' and the hold.
-- include begin
-- include verdicts
local facts = 0
for i = 4, #ARGV do
  local member = ARGV[i]
  local score = redis.call('ZSCORE', expiry_key, member)
  if score and score - 4e15 <= now and not is_skewed then
    local record = redis.call('HGET', holds_key, member) or ''
    facts = facts + select(2, string.gsub(string.match(record, '%S+$') or '', '[^-]', ''))
    local of = string.sub(member, 2)
    redis.call('HDEL', holds_key, member, 'o' .. of, 'm' .. of)
    redis.call('ZREM', expiry_key, member)
  end
end
if facts > 0 then redis.call('HINCRBY', holds_key, 'n', -facts) end
say('A')
return answer()
