-- Warnings before a limit is reached: a count crosses 70, 90 or 100 % of it. The highest reported
-- threshold is in the hash KEYS[#KEYS - 1] until the count is more than 5 points below it; a count
-- below 65 % is not checked. Behind it a group's generation may follow (see generation.lua), which
-- stays. The field 'x' and the count has the latest crossing, after the sender's clock: with it
-- read_crossings.lua finds what a step crossed whose reply was lost.
-- Called for a count that a step has raised; what: its letter, and its subject.
local function risen(what, before, after, most)
  if most == 0 or after <= before or after * 100 < most * 65 then return end
  local warned = KEYS[#KEYS - 1]
  local value = redis.call('HGET', warned, what) or '0'
  local standing, kept = tonumber(value), string.match(value, '%..*$') or ''
  local still, reached = 0, 0
  for _, percent in ipairs({70, 90, 100}) do
    if percent <= standing and before * 100 >= most * (percent - 5) then still = percent end
    if after * 100 >= most * percent then reached = percent end
  end
  local stands = math.max(still, reached)
  if stands == 0 and kept == '' then
    redis.call('HDEL', warned, what, 'x' .. what)
  elseif stands ~= standing then
    redis.call('HSET', warned, what, stands .. kept)
  end
  if reached > still then
    local crossing = ',' .. after .. ',' .. most .. ',' .. reached
    warnings[#warnings + 1] = what .. crossing
    redis.call('HSET', warned, 'x' .. what, string.format('%d', caller_now) .. crossing)
  end
end
