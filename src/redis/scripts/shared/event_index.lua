-- The index of the events that are kept. Beside the nodes, KEYS[3] has 'a/APP': how many limit
-- events of an app are kept, the first and the last one; 'n/NUMBER': the next one of the same app;
-- 'g/NUMBER': the kinds of the events that were dropped right before that number.
-- Needs: ARGV[1] bounds, counts (changes and limit events that are kept), now.
-- include event_tree
local changes, limits = tonumber(counts[1] or 0), tonumber(counts[2] or 0)
local bounds = {}
for bound in string.gmatch(ARGV[1], '%d+') do bounds[#bounds + 1] = tonumber(bound) end
local limits_max, app_max, changes_min, changes_max = unpack(bounds, 1, 4)
-- By the earlier of both clocks: one that is ahead drops nothing too early.
local kept_since = math.min(now, caller_now) - bounds[5]
local changed = {}
-- Sets a field of the index, or removes it (false); write_index writes it.
local function put(field, value) fields[field], changed[field] = value, true end
-- The digit of a node for all its children, by its field: computed once for each.
local sums = {}
local function sum_of(text)
  return (string.find(text, '[13]') and 1 or 0) + (string.find(text, '[23]') and 2 or 0)
end
local function mark_kept(number, digit)
  local id = number
  for level = 0, levels - 1 do
    local child = id % 256
    id = (id - child) / 256
    local text, field = node(level, id)
    local sum, old = sums[field] or sum_of(text), string.byte(text, child + 1) - 48
    text = string.sub(text, 1, child) .. digit .. string.sub(text, child + 2)
    put(field, text ~= nothing and text)
    if old == 0 or old == digit or digit == 3 then
      sums[field] = (sum == 0 or sum == digit) and digit or 3
    else
      sums[field] = sum_of(text)
    end
    if sums[field] == sum then return end
    digit = sums[field]
  end
end
local function write_index()
  for field in pairs(changed) do
    if fields[field] then
      redis.call('HSET', KEYS[3], field, fields[field])
    else
      redis.call('HDEL', KEYS[3], field)
    end
  end
end
-- The time, app and kind of a stored event.
local function parts_of(event)
  local pattern = '^{"v":%d+,"at_ms":(%-?%d+),"app_id":"([^"]*)","kind":"([^"]*)"'
  return string.match(event or '', pattern)
end
local function unite(kinds, more)
  for kind in string.gmatch(more or '', '%S+') do
    if not string.find(' ' .. kinds .. ' ', ' ' .. kind .. ' ', 1, true) then
      kinds = kinds .. ' ' .. kind
    end
  end
  return kinds
end
