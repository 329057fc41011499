-- Group types. A catalog's types come as ';NAME CAP TRACKED COUNTS RECLAIM PER_APP PER_DAY;...'.
local function rules(types, name)
  local _, at = string.find(types, ';' .. name .. ' ', 1, true)
  if not at then return nil end
  local cap, tracked, counts, reclaim, per_app, per_day =
    string.match(types, '^(%S+) (%d) (%d) (%d) (%S+) ([^;]+)', at + 1)
  return {
    cap = limit(cap), tracked = tracked == '1', counts = counts == '1',
    reclaim = reclaim == '1', per_app = limit(per_app), per_day = limit(per_day),
  }
end
-- A group's record is 'OWN_LIMIT TYPE', or '!CLAIM TYPE' while it is being dissolved (previous
-- version: '!OWN_LIMIT TYPE'; see dissolve_group.lua). Its generation: see generation.lua. Behind
-- the type, a held group (holds.lua) has '@EXPIRY', which is returned last, or ''.
local function read_group(key)
  local leaving, own, name, expiry =
    string.match(redis.call('GET', key) or '', '^(!?)(%S+) ([^@]*)(.*)$')
  return leaving, own, name, expiry
end
