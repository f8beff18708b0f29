-- Move money into or out of an account, once per id.
--
-- KEYS  the first answer to this id, the account's hash, its ledger
-- ARGV  amount, id, cause, time (ms), note, seconds to remember the answer, floor of an account that has left
-- Answer  words, the first answer when the id was seen: cursor, amount, balance after it, time (ms), cause, note;
--         "" when the balance could no longer be counted exactly; nil when the account has left for another root

local amount, id, cause, at_ms, note, ttl_s, closed = unpack(ARGV)
local known = redis.call('GET', KEYS[1])
if known then return known end
local bal, floor = unpack(redis.call('HMGET', KEYS[2], 'bal', 'floor'))
if floor == closed then return nil end
local balance = (tonumber(bal) or 0) + tonumber(amount)
if math.abs(balance) >= 2 ^ 53 then return '' end
balance = digits(balance)
redis.call('HSET', KEYS[2], 'bal', balance)
local cursor = redis.call('XADD', KEYS[3], '*', 'id', id, 'kind', cause, 'amount', amount, 'balance', balance,
  'at', at_ms, 'note', note)
local answer = table.concat({cursor, amount, balance, at_ms, cause, note}, ' ')
redis.call('SET', KEYS[1], answer, 'EX', ttl_s)
return answer
