-- Records takes and releases while changes are tracked: KEYS[#KEYS] exists then. Beyond the bound,
-- nothing is recorded any more.
local tracked_max = 1000000
local function tracks() return redis.call('EXISTS', KEYS[#KEYS]) == 1 end
local function track(facts)
  if #facts == 0 then return end
  redis.call('SADD', KEYS[#KEYS], unpack(facts))
  if redis.call('SCARD', KEYS[#KEYS]) > tracked_max then redis.call('UNLINK', KEYS[#KEYS]) end
end
-- Records the facts that are named by ARGV[first] and the following, unless they were denied.
local function allowed(first, before, after)
  local facts = {}
  for i = first, #ARGV do
    if said[i - first + 1] ~= 'D' then facts[#facts + 1] = before .. ARGV[i] .. after end
  end
  return facts
end
