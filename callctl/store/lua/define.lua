-- Writes one definition, if nobody has written any since the writer looked. One slot: that of {definitions}.
--
-- KEYS    1 revision   2 what was written at which revision (sorted set: `<kind>:<id>`)   3 the kind's hash
--         then the chunks of a deck: first the new ones, which are kept, then the old ones, which expire
-- ARGV    1 the revision the writer saw   2 kind   3 id   4 value
--         5 number of new chunks   6 seconds that the old chunks stay for who still reads them
-- answer  the new revision; nil when the definitions have moved on

if (redis.call('GET', KEYS[1]) or '0') ~= ARGV[1] then
  return nil
end
local kept = tonumber(ARGV[5])
for i = 4, #KEYS do
  if i - 3 <= kept then
    redis.call('PERSIST', KEYS[i])
  else
    redis.call('EXPIRE', KEYS[i], ARGV[6])
  end
end
local revision = redis.call('INCR', KEYS[1])
redis.call('HSET', KEYS[3], ARGV[3], ARGV[4])
redis.call('ZADD', KEYS[2], revision, ARGV[2] .. ':' .. ARGV[3])
return revision
