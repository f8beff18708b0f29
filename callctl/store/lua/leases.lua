-- The live calls of many roots, root by root and by the end of their lease. Looks, and changes nothing.
--
-- KEYS    per root: its leases
-- ARGV    the latest end (ms, or "+inf"), how many calls are enough, how many of one root at the most (-1: all)
-- answer  how many roots were looked at until there were enough; then per root that has any: its number, trace ids

local TOGETHER = 25  -- roots: mostly none of them has a call, and to ask for that costs little

local latest, enough, of_one = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local answer, calls, number = {0}, 0, 1
while number <= #KEYS and calls < enough do
  local last = math.min(number + TOGETHER - 1, #KEYS)
  if number % TOGETHER == 1 and redis.call('EXISTS', unpack(KEYS, number, last)) == 0 then
    number = last
  else
    local found = redis.call('ZRANGEBYSCORE', KEYS[number], '-inf', latest, 'LIMIT', 0, of_one)
    if #found > 0 then answer[#answer + 1] = {number, found} end
    calls = calls + #found
  end
  number = number + 1
end
answer[1] = number - 1
return answer
