#!lua flags=no-writes
-- Returns the generation of a slot's mark. KEYS: 1 the mark. Result: '' if there is none.
return redis.call('GET', KEYS[1]) or ''
