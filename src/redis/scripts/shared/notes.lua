-- Notes of callbacks. KEYS: 1 by name, 'UNTIL VALUE'; 2 names by the ms at which they expire.
-- '#' in the former: the last of those.
-- A queue's value is a packed list of its texts, each behind its own expiry. Needs now.lua.
local notes_key, ends_key = KEYS[1], KEYS[2]
local function note(name)
  local found = redis.call('HGET', notes_key, name)
  local till, value = string.match(found or '', '^(%d+) (.*)$')
  if till and tonumber(till) > now then return value, tonumber(till) end
  return nil, 0
end
local function drop(name)
  redis.call('HDEL', notes_key, name)
  redis.call('ZREM', ends_key, name)
end
local function keep(name, value, till)
  redis.call('HSET', notes_key, name, string.format('%d ', till) .. value)
  redis.call('ZADD', ends_key, string.format('%d', till), name)
end
-- Returns the texts of a queue that have not expired.
local function texts(name)
  local kept, value = {}, note(name)
  local all = value and cmsgpack.unpack(value) or {}
  for i = 1, #all, 2 do
    if all[i] > now then
      kept[#kept + 1] = all[i]
      kept[#kept + 1] = all[i + 1]
    end
  end
  return kept
end
local function keep_texts(name, kept)
  if #kept == 0 then return drop(name) end
  local till = 0
  for i = 1, #kept, 2 do till = math.max(till, kept[i]) end
  keep(name, cmsgpack.pack(kept), till)
end
-- Returns whether that number of new notes fit, after removing expired ones.
local function has_room(more, most)
  local expired = redis.call('ZRANGEBYSCORE', ends_key, '-inf', now, 'LIMIT', 0, 2 * more + 10)
  for _, name in ipairs(expired) do drop(name) end
  return redis.call('ZCOUNT', ends_key, '-inf', '+inf') + more <= most
end
-- After the last of an app's notes both keys are gone.
local function expire_keys(till)
  local last = math.max(till, tonumber(redis.call('HGET', notes_key, '#') or 0))
  redis.call('HSET', notes_key, '#', string.format('%d', last))
  for _, key in ipairs({notes_key, ends_key}) do redis.call('PEXPIREAT', key, string.format('%d', last)) end
end
