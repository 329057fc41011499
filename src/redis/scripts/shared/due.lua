-- While facts of the part have expired, the script writes nothing and returns up to 256 of them. The
-- caller has them removed (end_accounts.lua ...) and calls again, so that no decision sees one.
if expired > 0 then
  local facts = redis.call('ZRANGEBYSCORE', expiry_key, '-inf', now, 'LIMIT', 0, 256)
  return {now, 'due', table.concat(facts, ';')}
end
