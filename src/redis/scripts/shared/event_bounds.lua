-- Keeps an event, and drops events beyond the bounds: at most two for each one that is kept.
-- include event_index
-- No event of either class is kept up to these numbers, which only grow.
local no_change_to, no_limit_to = 0, 0
-- Removes the first limit event of an app from the app's list.
local function forget_first_of(app)
  local count, first, last = string.match(get('a/' .. app) or '', '^(%d+) (%d+) (%d+)$')
  if not count then return end
  local next_one = get('n/' .. first)
  if next_one then put('n/' .. first, false) end
  put('a/' .. app, next_one and string.format('%d %s %s', count - 1, next_one, last))
end
-- Never drops the last event of all. `app` is that of a limit event.
local function drop(number, app)
  local field, child = string.format('%d', number), number % 256
  local text = node(0, (number - child) / 256)
  local digit = string.sub(text, child + 1, child + 1)
  local _, event_app, kind = parts_of(redis.call('HGET', KEYS[1], field))
  if app or event_app and digit == '2' then forget_first_of(app or event_app) end
  if digit == '0' then return end
  local behind = string.format('g/%d', kept_after(number, '[123]'))
  local kinds = unite(kind or '?', get('g/' .. field))
  put(behind, unite(kinds, get(behind)))
  if get('g/' .. field) then put('g/' .. field, false) end
  redis.call('HDEL', KEYS[1], field)
  mark_kept(number, 0)
  if digit == '1' then changes = changes - 1 else limits = limits - 1 end
end
local function keep(number, event)
  local _, app, kind = parts_of(event)
  if app == '' or (kind ~= 'limit_passed' and kind ~= 'denied' and kind ~= 'hold_retaken') then
    mark_kept(number, 1)
    changes = changes + 1
    for _ = 1, 2 do
      local oldest = changes > changes_min and kept_after(no_change_to, '[13]')
      if not oldest then return end
      local at = parts_of(redis.call('HGET', KEYS[1], string.format('%d', oldest)))
      if changes <= changes_max and at and tonumber(at) >= kept_since then return end
      drop(oldest)
      no_change_to = oldest
    end
    return
  end
  mark_kept(number, 2)
  limits = limits + 1
  local this = string.format('%d', number)
  local count, first, last = string.match(get('a/' .. app) or '', '^(%d+) (%d+) (%d+)$')
  if count then put('n/' .. last, this) end
  put('a/' .. app, string.format('%d %s %s', (count or 0) + 1, first or this, this))
  if tonumber(count or 0) >= app_max then drop(tonumber(first), app) end
  if limits > limits_max then
    no_limit_to = kept_after(no_limit_to, '[23]')
    drop(no_limit_to)
  end
end
