-- Begins a script that decides operations of several callers, each by itself, in order. Each is
-- about one user, in mode E, crosses no threshold, is about no fact that is held, and is not denied
-- while facts have expired, which may be what denies it; any other one is left to its own script,
-- and nothing was written for it. Nothing outside of decide can fail after the first write.
-- Needs begin.lua. Behind the letter of an operation's kind is by how many ms its deadline is before
-- that of the call, if it is.
-- Result: letters, '-' for one that is left; the notes of denials; a list of their groups.
-- include held
if mode ~= 'E' or stopped or is_astray or facts_max or redis.call('EXISTS', KEYS[#KEYS]) == 1 then
  return {now, 'apart'}
end
-- A counter that is no number fails here, before anything is written.
local writes_before = string.match(redis.call('GET', writes_key) or '0', '^%d+$') + 0
local said, notes, details, spare = {}, {}, {}, ARGV[2] - now
-- Decides the operations at these places of ARGV: first, first + step, ...
local function decide_all(decide, first, step)
  local number = 0
  for at = first, #ARGV, step do
    local kind, is_decided, letter, note, detail = ARGV[at], false, nil, nil, nil
    if #kind == 1 or string.sub(kind, 2) - spare <= 0 then
      is_decided, letter, note, detail = pcall(decide, number, at)
    end
    if letter == 'D' and expired > 0 then letter = nil end
    number = number + 1
    said[number] = is_decided and letter or '-'
    if letter == 'D' and is_decided then
      notes[#notes + 1], details[#details + 1] = note, detail
    end
  end
  local segment = #notes > 0 and redis.call('HGET', KEYS[1], named .. part) or ''
  writes = writes or writes_before
  return {now, writes, table.concat(said), segment, table.concat(notes, ' '), details}
end
