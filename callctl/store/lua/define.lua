-- Writes one definition, if nobody has written any since the writer looked.
--
-- KEYS    1, 2 those of `written.lua`   3 the kind's hash
--         then the chunks of a deck: first the new ones, which stay, then the old ones, which expire
-- ARGV    1 the revision the writer saw   2 kind   3 id   4 value   5 number of new chunks
--         6 seconds that the old chunks stay for who still reads them
-- answer  the new revision; nil when the definitions have moved on

local revision, kind, id, value, new_chunks, old_ttl_s = unpack(ARGV)
if not is_latest(revision) then return nil end
for i = 4, #KEYS do
  if i - 3 <= tonumber(new_chunks) then
    redis.call('PERSIST', KEYS[i])
  else
    redis.call('EXPIRE', KEYS[i], old_ttl_s)
  end
end
return write(KEYS[3], kind, id, value)
