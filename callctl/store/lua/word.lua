-- An operator's word about an account's spend thresholds (`limits/watching.py`).
--
-- KEYS  the account's hash, what was said by ids
-- ARGV  what (release | allow | tell), the account's local day, now (ms), by, why, id ("" for none), seconds to
--       remember it, then of a release: until (ms); of an allowance: how much; of days told: their number, per day:
--       number, spent, cap, peak, incident ("-": as it was)
-- Answer  1; 0 where something else was said by the id. What was said by it before is not said again.
--         nil when the account has left for another root

local W = watching_all()
local hash, what, number, now, by, why, id, ttl_s, value = KEYS[1], unpack(ARGV, 1, 8)
if redis.call('EXISTS', beside(hash, 'g')) == 1 then return nil end
if id ~= '' then
  local said = what .. ' ' .. value
  local before = redis.call('HGET', KEYS[2], id)
  if before then return before == said and 1 or 0 end
  redis.call('HSET', KEYS[2], id, said)
  redis.call('EXPIRE', KEYS[2], ttl_s)
end
local day, turned, before = W.day(hash, redis.call('HGET', hash, 'ids'), tonumber(number))
W.keep(hash, day, turned, before)
if what == 'release' then
  W.release(day, tonumber(value))
elseif what == 'allow' then
  W.allow(day, tonumber(value))
else
  for at = 9, 4 + 5 * tonumber(value), 5 do
    local told, spent, cap, peak, incident = unpack(ARGV, at, at + 4)
    W.tell(hash, day, tonumber(told), {
      spent = tonumber(spent), cap = tonumber(cap), peak = tonumber(peak), incident = tonumber(incident),
    })
  end
  W.refresh(hash, day)
end
redis.call('HSET', hash, 'ids', cmsgpack.pack(day))
redis.call('XADD', W.notes(hash), 'MAXLEN', '~', 1000, '*', 'at', now, 'what', what, 'by', by, 'why', why,
  'said', value)
return 1
