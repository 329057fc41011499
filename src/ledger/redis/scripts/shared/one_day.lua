-- Refuses what counts for today where the clocks are too far apart to say which day it is.
if is_other_day then
  return redis.error_reply('CLOCKSKEW ' .. math.floor(math.abs(now - caller_now) / 1000))
end
