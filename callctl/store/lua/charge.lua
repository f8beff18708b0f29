-- One step of a subscription: its charges posted, their records written, and how far it is charged; all or nothing.
--
-- KEYS  how far the account's subscriptions are charged (hash), the account's hash, its ledger, outbox
-- ARGV  subscription, how far the caller saw it charged ("" for not at all), how far it is then, force (1) or not,
--       floor of an account that has left, account, time of the posts (ms), what leaves the account in all,
--       number of posts, per post: id, kind, amount as it moves the balance; then per record: payload
-- Answer  done; no_credit when the account cannot afford it, or has left for another root; moved_on when the
--         subscription is not charged as far as the caller saw

local name, seen, charged, force, closed, account, at_ms, amount = unpack(ARGV, 1, 8)
if (redis.call('HGET', KEYS[1], name) or '') ~= seen then return 'moved_on' end

local bal, held, floor = unpack(redis.call('HMGET', KEYS[2], 'bal', 'held', 'floor'))
if not floor or floor == closed then return 'no_credit' end
local affordable = available(bal, held, floor)
if force ~= '1' and tonumber(amount) > 0 and affordable and tonumber(amount) > affordable then return 'no_credit' end

local at = 10
for post = 1, tonumber(ARGV[9]) do
  local balance = redis.call('HINCRBY', KEYS[2], 'bal', ARGV[at + 2])
  redis.call('XADD', KEYS[3], '*', 'id', ARGV[at], 'kind', ARGV[at + 1], 'amount', ARGV[at + 2],
    'balance', digits(balance), 'at', at_ms, 'note', name)
  at = at + 3
end
for record = at, #ARGV do
  redis.call('XADD', KEYS[4], '*', 'account', account, 'payload', ARGV[record])
end
redis.call('HSET', KEYS[1], name, charged)
return 'done'
