-- While facts of the part have expired, the script writes nothing and returns up to 256 of them. The
-- caller has them removed (end_accounts.lua ...) and calls again, so that no decision sees one.
-- While the clocks disagree, nothing expires.
if due and now - due >= 0 and not is_skewed then
  local expired = redis.call('ZRANGEBYSCORE', expiry_key, '-inf', now, 'LIMIT', 0, 256)
  if #expired > 0 then return {now, 'due', table.concat(expired, ';')} end
end
