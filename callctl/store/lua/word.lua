-- An operator's word about an account's spend thresholds (`limits/watching.py`).
--
-- KEYS  the account's hash
-- ARGV  what (release | allow | tell), the account's local day, now (ms), by, why, then of a release: until (ms);
--       of an allowance: how much; of days told: their number, per day: number, spent, cap, peak, incident ("-": as
--       it was)

local W = watching_all()
local hash, what, number, now, by, why = KEYS[1], unpack(ARGV, 1, 5)
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
