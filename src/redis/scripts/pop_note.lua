#!lua
-- Removes and returns the oldest text of a queue. KEYS: notes.lua. ARGV: 1 name. Result: nil if it
-- has none.
-- include mark
-- include now
-- include notes
local kept = texts(ARGV[1])
if #kept == 0 then return nil end
table.remove(kept, 1)
local text = table.remove(kept, 1)
keep_texts(ARGV[1], kept)
return text
