#!lua flags=no-writes
-- Returns the store's identity. KEYS: 1 identity.
-- Result: time in ms, then format, fingerprint key, generation, marks ('all' once all are written),
-- id, earlier generations, the request that accepted it ('' for each that is not set).
local time = redis.call('TIME')
local answer = {time[1] * 1000 + math.floor(time[2] / 1000)}
local fields =
  {'format', 'fingerprint_key', 'generation', 'marks', 'id', 'previous', 'accepted'}
local known = redis.call('HMGET', KEYS[1], unpack(fields))
for i = 1, #fields do answer[i + 1] = known[i] or '' end
return answer
