-- Counts facts that end unless they are confirmed: those that have expired, and the others.
local function has_expired(score) return not is_skewed and tonumber(score) <= now end
-- Returns how many elements of a set are facts that have not expired, and how many of them are
-- held. The fewer are looked up: the elements, or the facts of the part that are held.
local function count_of(key, before, after)
  local count, expired, held = redis.call('SCARD', key), 0, 0
  local function note(fact)
    local score = redis.call('ZSCORE', expiry_key, fact)
    if score and has_expired(score) then expired = expired + 1 elseif score then held = held + 1 end
  end
  if due and count <= redis.call('ZCOUNT', expiry_key, '-inf', '(4e15') then
    for _, element in ipairs(redis.call('SMEMBERS', key)) do note(before .. element .. after) end
  elseif due then
    for _, fact in ipairs(redis.call('ZRANGEBYSCORE', expiry_key, '-inf', '(4e15')) do
      local last = #fact - #after
      if string.sub(fact, 1, #before) == before and string.sub(fact, last + 1) == after then
        local element = string.sub(fact, #before + 1, last)
        if redis.call('SISMEMBER', key, element) == 1 then note(fact) end
      end
    end
  end
  return count - expired, held, expired
end
