-- Refuses an operation that counts for today if the clocks are too far apart to determine the day.
if is_other_day then
  return redis.error_reply('CLOCKSKEW ' .. math.floor(math.abs(now - caller_now) / 1000))
end
