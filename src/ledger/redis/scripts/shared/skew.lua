-- Refuses what goes by the time where the server's clock (now) and the caller's differ by more than
-- 5 minutes: which of them is wrong cannot be seen here. Nothing has been written by then.
if math.abs(now - caller_now) > 300000 then
  return redis.error_reply('CLOCKSKEW ' .. math.floor(math.abs(now - caller_now) / 1000))
end
