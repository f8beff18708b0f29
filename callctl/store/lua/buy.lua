-- A block is bought, once per id: its price posted, its record written, and it is there; or nothing.
--
-- KEYS  the account's hash, its ledger, outbox
-- ARGV  the block's source, the block, how much is in it, its price, floor of an account that has left, id of the entry,
--       time of it (ms), what it is, account, payload of the record
-- Answer  the block as it was bought, now or before; nil where the account cannot afford it, or has left

local source, block, size, price, closed, id, at_ms, note, account, payload = unpack(ARGV)
local known = redis.call('HGET', beside(KEYS[1], 'b'), 'block ' .. source)
if known then return known end

local bal, held, floor = unpack(redis.call('HMGET', KEYS[1], 'bal', 'held', 'floor'))
if floor == closed then return nil end
local affordable = available(bal, held, floor)
if tonumber(price) > 0 and affordable and tonumber(price) > affordable then return nil end

redis.call('HSET', beside(KEYS[1], 'b'), 'block ' .. source, block, 'bal ' .. source, size)
local balance = redis.call('HINCRBY', KEYS[1], 'bal', digits(-tonumber(price)))
redis.call('XADD', KEYS[2], '*', 'id', id, 'kind', 'charge', 'amount', digits(-tonumber(price)),
  'balance', digits(balance), 'at', at_ms, 'note', note)
redis.call('XADD', KEYS[3], '*', 'account', account, 'payload', payload)
return block
