#!lua flags=no-writes
-- Returns the oldest text of a queue. KEYS: notes.lua. ARGV: 1 name. Result: nil if it has none.
-- include mark
-- include now
-- include notes
return texts(ARGV[1])[2]
