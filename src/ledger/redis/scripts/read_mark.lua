#!lua flags=no-writes
-- The generation that a slot's mark carries. KEYS: 1 the mark. Answer: '' where there is none.
return redis.call('GET', KEYS[1]) or ''
