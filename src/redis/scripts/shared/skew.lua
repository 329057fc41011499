-- Refuses an operation that depends on the time if the server's clock (now) and the caller's differ
-- by more than 5 minutes: which is wrong cannot be determined here. Nothing was written before
-- that.
if math.abs(now - caller_now) > 300000 then
  return redis.error_reply('CLOCKSKEW ' .. math.floor(math.abs(now - caller_now) / 1000))
end
