#!lua flags=no-writes
-- Reads the state that a change of an app is based on. KEYS: 1 documents, 2 audit log, 3 catalogs.
-- ARGV: 1 app, 2 number of the caller's last catalog ('0': none). Result: the document ('': not
-- registered), the last entry of the log ('': none), the records of catalogs, each behind its
-- number (0 if the caller has the last one), and the clock in ms.
-- include mark
-- include now
local document = redis.call('HGET', KEYS[1], ARGV[1]) or ''
local entry = redis.call('LRANGE', KEYS[2], -1, -1)[1] or ''
local last = redis.call('HGET', KEYS[3], 'last') or '0'
local catalogs = last ~= ARGV[2] and redis.call('HGETALL', KEYS[3]) or 0
return {document, entry, catalogs, now}
