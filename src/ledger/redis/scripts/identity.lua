#!lua flags=no-writes
-- The store's identity. KEYS: 1 identity.
-- Answer: time in ms, then format, fingerprint key, generation, marks ('all' once all were written),
-- id, earlier generations, the request that accepted it ('' each where there is none).
local time = redis.call('TIME')
local answer = {time[1] * 1000 + math.floor(time[2] / 1000)}
local fields =
  {'format', 'fingerprint_key', 'generation', 'marks', 'id', 'previous', 'accepted'}
local known = redis.call('HMGET', KEYS[1], unpack(fields))
for i = 1, #fields do answer[i + 1] = known[i] or '' end
return answer
