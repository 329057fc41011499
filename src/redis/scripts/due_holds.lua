#!lua flags=no-writes
-- Returns up to 256 facts that have expired, and up to 256 holds whose records are to be removed.
-- KEYS: 1 limits. Result: also both, each as words.
-- include begin
-- include verdicts
local facts, ids = {}, {}
if not is_skewed then
  facts = redis.call('ZRANGEBYSCORE', expiry_key, '-inf', now, 'LIMIT', 0, 256)
  ids = redis.call('ZRANGEBYSCORE', expiry_key, 4e15, 4e15 + now, 'LIMIT', 0, 256)
end
say('A')
return answer(table.concat(facts, ';'), table.concat(ids, '\n'))
