#!lua flags=no-writes
-- Lists the commands of all scripts that the user may not run, and those that the server lacks. Run
-- before anything is counted: a script that is stopped midway stays half done.
-- KEYS: 1 any key of the facts. Result: the names of the former, and those of the latter.
local names = {
  {'DECR', 'DEL', 'EXISTS', 'GET', 'HGETALL', 'HKEYS', 'LLEN', 'SCAN', 'SCARD', 'SMEMBERS',
    'SRANDMEMBER', 'UNLINK'},
  {'HDEL', 'HGET', 'HMGET', 'INCRBY', 'PEXPIREAT', 'RPUSH', 'SADD', 'SET',
    'SISMEMBER', 'SMISMEMBER', 'SREM', 'ZREM', 'ZSCORE'},
  {'HINCRBY', 'HSET', 'HSETNX', 'LRANGE', 'ZADD', 'ZCOUNT', 'ZRANGEBYLEX',
    'ZRANGEBYSCORE'},
}
local forbidden, unknown, values = {}, {}, {}
local function ask(name, ...)
  local is_known, is_allowed = pcall(redis.acl_check_cmd, name, ...)
  local names_of = not is_known and unknown or not is_allowed and forbidden
  if names_of then names_of[#names_of + 1] = name end
end
ask('TIME')
-- Each row takes one value more behind its key.
for _, row in ipairs(names) do
  for _, name in ipairs(row) do ask(name, KEYS[1], unpack(values)) end
  values[#values + 1] = '0'
end
return {forbidden, unknown}
