-- Takes channels of the provider's own limits: all of them, or none. Leases, so that what nobody gives back lapses.
--
-- KEYS    one per counter (zset: trace ids by the end of their lease)
-- ARGV    1 trace id   2 now (ms)   3 end of the lease (ms)   4 mode (take | force: whatever is in use | look: take none)
--         then the hard limit of each counter, "" where it has none
-- answer  per counter: how many other calls have it

local id, now, until_ms, mode = unpack(ARGV, 1, 4)
local in_use, fits = {}, true
for n, key in ipairs(KEYS) do
  local hard_limit = tonumber(ARGV[4 + n])
  in_use[n] = redis.call('ZCOUNT', key, '(' .. now, '+inf')
  local mine = redis.call('ZSCORE', key, id)
  if mine and tonumber(mine) > tonumber(now) then in_use[n] = in_use[n] - 1 end
  if hard_limit and in_use[n] >= hard_limit then fits = false end
end
if mode == 'force' or (mode == 'take' and fits) then
  for _, key in ipairs(KEYS) do
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
    redis.call('ZADD', key, until_ms, id)
  end
end
return in_use
