-- Move money into or out of an account, once per id.
--
-- KEYS  the first answer to this id, the account's hash, its ledger
-- ARGV  amount, id, cause, time (ms), note, seconds to remember the answer
-- Answer  words, the first answer when the id was seen: cursor, amount, balance after it, time (ms), cause, note;
--         "" when the balance could no longer be counted exactly

local amount, id, cause, at_ms, note, ttl_s = unpack(ARGV)
local known = redis.call('GET', KEYS[1])
if known then return known end
local balance = (tonumber(redis.call('HGET', KEYS[2], 'bal')) or 0) + tonumber(amount)
if math.abs(balance) >= 2 ^ 53 then return '' end
balance = digits(balance)
redis.call('HSET', KEYS[2], 'bal', balance)
local cursor = redis.call('XADD', KEYS[3], '*', 'id', id, 'kind', cause, 'amount', amount, 'balance', balance,
  'at', at_ms, 'note', note)
local answer = table.concat({cursor, amount, balance, at_ms, cause, note}, ' ')
redis.call('SET', KEYS[1], answer, 'EX', ttl_s)
return answer
