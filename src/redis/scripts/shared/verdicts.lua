-- The form of item results. Needs begin.lua.
-- Parses a limit from its text: '-' is unlimited.
local function limit(text) return tonumber(text) or math.huge end
-- Modes: E enforce, C check only, S shadow, F force; e and c: E and C of a whole batch.
-- Letters, one an item: A applied, S applied while over, H held (G: its owner is over), R repeated
-- (Q: its owner is over), N not held, D denied, X aborted.
-- Notes, one per item with S, G, Q or D: letters of the violated limits, each with its count; then
-- after a '|' the warnings (see warn.lua).
local is_whole = mode == 'e' or mode == 'c'
if is_whole then mode = string.upper(mode) end
local said, notes, warnings = {}, {}, {}
local function say(letter) said[#said + 1] = letter end
-- Decides a take of what is not held; returns whether it is taken.
local function judge(note)
  if stopped then note = 's0' end
  -- While only one of the two clocks is in this segment of the limits, nothing is taken, nor is the
  -- service reported as stopped. This is decided before the first write.
  if is_astray and (stopped or note == '' or mode == 'F' or mode == 'S') then
    error({err = 'CLOCKSKEW ' .. math.floor(math.abs(now - caller_now) / 1000)})
  end
  if note == '' or mode == 'F' then
    say('A')
    return true
  end
  notes[#notes + 1] = note
  say(mode == 'S' and 'S' or 'D')
  return mode == 'S'
end
-- Returns whether a denial aborts the whole batch, before the first write; with_first: item 1 takes
local function aborts(with_first)
  if not is_whole or #notes == 0 then return false end
  for i, letter in ipairs(said) do said[i] = letter == 'A' and 'X' or letter end
  said[1] = with_first and 'X' or said[1]
  return true
end
-- Counts a write of facts, once per step. Called by every step that changes facts. `facts`: how
-- many are added, less those released; they are counted for an app without limits of its own
-- (facts_max), from its first write on.
local function count_write(facts)
  writes = writes or redis.call('INCRBY', writes_key, 1)
  if facts and facts_max then
    if (writes == 1 and facts >= 0) or redis.call('HGET', KEYS[1], 'facts') then
      redis.call('HINCRBY', KEYS[1], 'facts', string.format('%d', facts))
    end
  end
end
-- Returns whether that many new facts are too many. Called before the first write.
local function exceeds_facts(new)
  if not facts_max or mode == 'F' or new == 0 then return false end
  return (redis.call('HGET', KEYS[1], 'facts') or 0) + new > facts_max
end
-- The reply: the counter of writes after it; with notes, the segment of limits by which they were
-- decided.
local function answer(...)
  local segment = #notes > 0 and redis.call('HGET', KEYS[1], named .. part) or ''
  local noted = table.concat(notes, ' ')
  if #warnings > 0 then noted = noted .. '|' .. table.concat(warnings, ' ') end
  writes = writes or tonumber(redis.call('GET', writes_key) or 0)
  return {now, writes, table.concat(said), segment, noted, ...}
end
