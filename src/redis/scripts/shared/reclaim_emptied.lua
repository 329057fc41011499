-- Reclaims groups that have lost their last member. A held group that has expired is left: it is
-- removed as a group.
for group, first in pairs(emptied) do
  local leaving, own, name = read_group(KEYS[first])
  local kind = name and rules(ARGV[4], name)
  if name and redis.call('SCARD', KEYS[first + 1]) == 0 and (leaving == '!' or (kind and kind.reclaim))
  then
    local expiry = tonumber(redis.call('ZSCORE', expiry_key, 'z' .. group) or math.huge)
    if expiry > now then
      remove_group(KEYS[first], name, group)
      removed[#removed + 1] = group
    end
  end
end
