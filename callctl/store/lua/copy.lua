-- Copies entries of a stream behind the last one of another, as they are: their ids are the cursors that readers have.
--
-- KEYS  from, to
-- ARGV  the last id to be copied
-- Answer  how many were

local newest = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
local entries = redis.call('XRANGE', KEYS[1], newest and '(' .. newest[1] or '-', ARGV[1])
for _, entry in ipairs(entries) do redis.call('XADD', KEYS[2], entry[1], unpack(entry[2])) end
return #entries
