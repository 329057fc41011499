-- Moves a held group, its members and its holds to the id of replace_group.lua. Without a hold of
-- its own the request makes them permanent.
local from, to, warned = ARGV[5], ARGV[9], KEYS[#KEYS - 1]
local function move_fact(fact, new_fact)
  local refs = refs_of(fact)
  if not refs then return end
  redis.call('HDEL', holds_key, 'f' .. fact)
  redis.call('HSET', holds_key, 'f' .. new_fact, refs)
  redis.call('ZADD', expiry_key, redis.call('ZSCORE', expiry_key, fact), new_fact)
  redis.call('ZREM', expiry_key, fact)
end
-- An earlier operation, of the group or of members, is confirmed under the new id, and is not
-- repeated.
local function move_records()
  for number, of in string.gmatch(refs_of(group_fact) or '', '%d+ (%d+) ([^\n]+)') do
    local record = of ~= id and record_of(of)
    if record and record.number ~= number then record = nil end
    if record then
      record.digest, record.is_changed = 'moved', true
      redis.call('HSET', holds_key, 'm' .. of, ARGV[12])
    end
  end
end
local function move_member(user, key)
  for cell = key, key + 1 do
    if redis.call('SREM', KEYS[cell], from) == 1 then redis.call('SADD', KEYS[cell], to) end
  end
  local fact = 'm' .. from .. ' ' .. user
  if how == 'T' then move_fact(fact, 'm' .. to .. ' ' .. user) else settle(fact, 'c') end
end
local function rename()
  move_records()
  -- A hold of the request is written first; its facts move with the others.
  if how ~= 'T' then keep_group(KEYS[2], name, own, from) end
  if how == 'T' then write_group_hold() end
  for i = first, #ARGV do move_member(ARGV[i], 2 * (i - first) + first_key) end
  move_fact(group_fact, 'z' .. to)
  for _, letter in ipairs({'m', 'xm'}) do
    local standing = redis.call('HGET', warned, letter .. from)
    if standing then redis.call('HSET', warned, letter .. to, standing) end
    redis.call('HDEL', warned, letter .. from)
  end
  local since = redis.call('HGET', holds_key, 'g' .. from)
  if since then redis.call('HSET', holds_key, 'g' .. to, since) end
  redis.call('HDEL', holds_key, 'g' .. from)
  local members = redis.call('SMEMBERS', KEYS[3])
  if #members > 0 then redis.call('SADD', KEYS[7], unpack(members)) end
  redis.call('DEL', KEYS[3])
  local held = how == 'T' and '@' .. redis.call('ZSCORE', expiry_key, 'z' .. to) or ''
  redis.call('SET', KEYS[6], own .. ' ' .. name .. held)
  redis.call('DEL', KEYS[2])
  if how ~= 'T' then write_take(states) end
  write_holds()
end
