-- The scripts of the Redis store, as `tests/run lint` composes them.
std = "lua51"
globals = {"KEYS"}
read_globals = {"ARGV", "cmsgpack", "redis"}
-- Names that are unused or taken a second time: a script uses a part of what its shared parts have.
ignore = {"211", "213", "231", "311", "4"}
max_line_length = false
-- It calls no function that reads the limits.
files["**/sizes.lua"] = {ignore = {"113/limit"}}
