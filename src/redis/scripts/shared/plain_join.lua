-- Decides the join of one user in mode E. letter: A, H or D, with the note of a denial; nil, and
-- nothing was written, if it would cross a threshold, if the member is held, or if all other
-- members may have expired.
-- Needs: members_key, groups_key, group, user, members, most, groups_most.
local letter, note, groups = nil, '', redis.call('SCARD', groups_key)
if expired > 0 and members <= expired then
  letter = nil
elseif members >= most or groups >= groups_most then
  letter = 'H'
  if redis.call('SISMEMBER', members_key, user) == 0 then
    if groups >= groups_most then note = 'u' .. groups end
    if members >= most then note = note .. 'm' .. members end
    letter = 'D'
  end
else
  local is_quiet = (members + 1) * 100 < most * 65 and (groups + 1) * 100 < groups_most * 65
  if not is_quiet then
-- include quiet
    is_quiet = stays('u' .. user, groups, groups_most) and stays('m' .. group, members, most)
  end
  if is_quiet then
    letter = 'H'
    if redis.call('SADD', members_key, user) == 1 then
      redis.call('SADD', groups_key, group)
      writes = writes or redis.call('INCRBY', writes_key, 1)
      letter = 'A'
    end
  end
end
-- A fact that is held becomes permanent.
if letter == 'H' and due then
  if redis.call('HGET', holds_key, 'fm' .. group .. ' ' .. user) then letter = nil end
end
