#!lua
-- Appends a text to a queue. KEYS: notes.lua. ARGV: 1 name, 2 text, 3 ms for which it is kept,
-- 4 most notes, 5 most texts in a queue. Result: 1; 0 if there is no room.
-- include mark
-- include now
-- include notes
local kept, till = texts(ARGV[1]), now + tonumber(ARGV[3])
if #kept / 2 >= tonumber(ARGV[5]) or not has_room(1, tonumber(ARGV[4])) then return 0 end
kept[#kept + 1] = till
kept[#kept + 1] = ARGV[2]
keep_texts(ARGV[1], kept)
expire_keys(till)
return 1
