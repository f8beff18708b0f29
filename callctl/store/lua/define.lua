-- Writes one definition, if nobody has written any since the writer looked. One slot: that of {definitions}.
--
-- KEYS    1 revision   2 what was written at which revision (zset: <kind>:<id>)   3 the kind's hash   4 moves (hash)
--         then the chunks of a deck: first the new ones, which stay, then the old ones, which expire
-- ARGV    1 the revision the writer saw   2 kind   3 id   4 value   5 the move to another root that it means, or ""
--         6 number of new chunks   7 seconds that the old chunks stay for who still reads them
-- answer  the new revision; nil when the definitions have moved on

if (redis.call('GET', KEYS[1]) or '0') ~= ARGV[1] then
  return nil
end
for i = 5, #KEYS do
  if i - 4 <= tonumber(ARGV[6]) then
    redis.call('PERSIST', KEYS[i])
  else
    redis.call('EXPIRE', KEYS[i], ARGV[7])
  end
end
local revision = redis.call('INCR', KEYS[1])
redis.call('ZADD', KEYS[2], revision, ARGV[2] .. ':' .. ARGV[3])
redis.call('HSET', KEYS[3], ARGV[3], ARGV[4])
if ARGV[5] ~= '' then
  redis.call('HSET', KEYS[4], ARGV[3], ARGV[5])
end
return revision
