-- Writes how far below zero accounts may go, if nobody has written a definition since the writer looked.
--
-- KEYS    1, 2 those of `written.lua`   then the accounts' hashes
-- ARGV    1 the revision the writer saw   then per account: its floor
-- answer  how many were written; nil when the definitions have moved on

if not is_latest(ARGV[1]) then return nil end
for n = 3, #KEYS do redis.call('HSET', KEYS[n], 'floor', ARGV[n - 1]) end
return #KEYS - 2
