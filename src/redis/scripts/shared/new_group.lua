-- Decides on the group of create_group.lua, its owner and its members: ARGV from first to last, with
-- their cells from KEYS[first_key] on.
most, used = cap_of(kind, name, own), redis.call('SCARD', KEYS[3]) + taken_before
local group_fact, states, has_owner = 'z' .. ARGV[5], last - first + 2, ARGV[11] == '1'
local function add(i)
  local held = redis.call('SISMEMBER', KEYS[3], ARGV[i])
  take_in(kind, ARGV[i], 2 * (i - first) + first_key, held, i - first + 2)
end
local function too_many(letter, of, count, at_most)
  count = tonumber(count or 0)
  rises[#rises + 1] = {letter .. of, count, count + 1, at_most}
  return count >= at_most and letter .. count or ''
end
if exists_already and has_owner and kind.tracked then
  look_up(group_fact, 'm' .. ARGV[5] .. ' ' .. ARGV[first])
  add(first)
  if said[1] ~= 'D' then
    local letter = exists(1, group_fact)
    said[1] = said[1] == 'S' and (letter == 'R' and 'Q' or 'G') or letter
  end
elseif exists_already then
  say(joins and 'H' or exists(1, group_fact))
else
-- include one_day
  local free, at_most, huge = sold('*'), sold('e/'), math.huge
  local total = (free < huge or at_most < huge) and total_groups()
  local of_type = redis.call('HGET', KEYS[4], name)
  local note = too_many('g', name, of_type, math.min(kind.per_app, sold(name)))
    .. (at_most < huge and too_many('e', '', total, at_most) or '')
    .. (free < huge and too_many('n', '', total, free) or '')
  local of_day, all_of_day = math.min(kind.per_day, sold('t/' .. name)), limit(ARGV[9])
  note = note .. too_many('t', name, redis.call('HGET', KEYS[5], day .. '/' .. name), of_day)
    .. too_many('d', '', redis.call('HGET', KEYS[5], day), math.min(all_of_day, sold('d/')))
  local own_note, groups = '', 0
  if has_owner then own_note, groups = in_the_way(kind, first_key) end
  if judge(note .. own_note) then
    takes(1, group_fact)
    if has_owner then plan(kind, ARGV[first], first_key, groups, 2) end
  end
end
local adds_owner = #new > 0
if said[1] ~= 'D' or is_whole then
  for i = has_owner and first + 1 or first, last do add(i) end
end
-- include group_hold
