-- An operator's word about an account's spend thresholds (`limits/watching.py`).
--
-- KEYS  the account's hash; and where the word has an id, what was said by that
-- ARGV  what (release | allow | tell), the account's local day, now (ms), by, why, then of a release: until (ms);
--       of an allowance: how much; of both: seconds to remember the id; of days told: their number, per day: number,
--       spent, cap, peak, incident ("-": as it was)
-- Answer  1; 0 where something else was said by the id. What was said by it before is not said again.
--         nil when the account has left for another root

local W = watching_all()
local hash, what, number, now, by, why = KEYS[1], unpack(ARGV, 1, 5)
if redis.call('EXISTS', beside(hash, 'g')) == 1 then return nil end
if KEYS[2] then
  local said = what .. ' ' .. ARGV[6]
  local before = redis.call('GET', KEYS[2])
  if before then return before == said and 1 or 0 end
  redis.call('SET', KEYS[2], said, 'EX', ARGV[7])
end
local day, turned, before = W.day(hash, redis.call('HGET', hash, 'ids'), tonumber(number))
W.keep(hash, day, turned, before)
if what == 'release' then
  W.release(day, tonumber(ARGV[6]))
elseif what == 'allow' then
  W.allow(day, tonumber(ARGV[6]))
else
  for at = 7, 2 + 5 * tonumber(ARGV[6]), 5 do
    local told, spent, cap, peak, incident = unpack(ARGV, at, at + 4)
    W.tell(hash, day, tonumber(told), {
      spent = tonumber(spent), cap = tonumber(cap), peak = tonumber(peak), incident = tonumber(incident),
    })
  end
  W.refresh(hash, day)
end
redis.call('HSET', hash, 'ids', cmsgpack.pack(day))
redis.call('XADD', W.notes(hash), 'MAXLEN', '~', 1000, '*', 'at', now, 'what', what, 'by', by, 'why', why,
  'said', ARGV[6])
return 1
