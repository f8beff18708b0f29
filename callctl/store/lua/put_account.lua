-- Writes the definition of an account, and how far below zero it may go; where that gives it another root, it and all
-- below it go there with all that they have. All of it or nothing, some 30 us for each that goes.
--
-- KEYS    1, 2 those of `written.lua`   3 accounts   4 former roots
--         then per account: its hash where it is, and where it is to be. The same twice: it stays, and is the only one
-- ARGV    1 the revision the writer saw   2 account   3 its definition   4 that of the former root that it becomes, or ""
--         5 id of the entries in the ledgers of who goes   6 time of them (ms)   7 the root that is left
--         8 the root that is come to   9 floor of an account that has left   then per account: its floor
-- answer  the new revision; nil when the definitions have moved on; where some cannot go yet {"busy", their numbers ...}
--         with calls up or something held, or {"behind", ...} whose history is to be brought first (`RedisHistory`)

local revision, account, definition, former, entry, at_ms, from_root, to_root, closed = unpack(ARGV, 1, 9)
if not is_latest(revision) then return nil end

local function holds(hash)
  local flat = redis.call('HGETALL', hash)
  for n = 1, #flat, 2 do
    local field = flat[n]
    if field ~= 'bal' and field ~= 'floor' and field ~= 'ids' and tonumber(flat[n + 1]) ~= 0 then return true end
  end
  flat = redis.call('HGETALL', beside(hash, 'b'))
  for n = 1, #flat, 2 do
    if string.find(flat[n], 'held ', 1, true) == 1 and tonumber(flat[n + 1]) ~= 0 then return true end
  end
  return false
end

local function last(stream)
  local newest = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  if not newest then return 0, 0 end
  local ms, number = string.match(newest[1], '(%d+)-(%d+)')
  return tonumber(ms), tonumber(number)
end

local function is_behind(from, to, kind)
  local ms, number = last(beside(from, kind))
  local to_ms, to_number = last(beside(to, kind))
  return to_ms < ms or (to_ms == ms and to_number < number)
end

-- The balance goes. What left stands in both ledgers under one id, as all before it does.
local function pay_over(from, to)
  local balance = redis.call('HGET', from, 'bal')
  if not balance or balance == '0' then return end
  local out = {'id', entry .. '-out', 'kind', 'correction', 'amount', digits(-tonumber(balance)), 'balance', '0',
    'at', at_ms, 'note', to_root}
  redis.call('HSET', from, 'bal', '0')
  local cursor = redis.call('XADD', beside(from, 'l'), '*', unpack(out))
  redis.pcall('XADD', beside(to, 'l'), cursor, unpack(out))  -- not where a correction once was posted behind a move
  local come = redis.call('HINCRBY', to, 'bal', balance)
  redis.call('XADD', beside(to, 'l'), '*', 'id', entry .. '-in', 'kind', 'correction', 'amount', balance,
    'balance', digits(come), 'at', at_ms, 'note', from_root)
end

-- Where it went stands where it was, and nothing of an earlier stay stands where it comes to.
local function go(from, to, floor)
  pay_over(from, to)
  for _, kind in ipairs({'b', 'c', 'i', 'w'}) do
    redis.call('DEL', beside(to, kind))
    if redis.call('EXISTS', beside(from, kind)) == 1 then redis.call('RENAME', beside(from, kind), beside(to, kind)) end
  end
  local ids = redis.call('HGET', from, 'ids')
  redis.call('HDEL', ids and from or to, 'ids')
  if ids then redis.call('HSET', to, 'ids', ids) end
  redis.call('HSET', from, 'floor', closed)
  redis.call('HSET', to, 'floor', floor)
  redis.call('SET', beside(from, 'g'), to)
  redis.call('DEL', beside(to, 'g'))
end

if from_root == to_root then
  redis.call('HSET', KEYS[6], 'floor', ARGV[10])
else
  local busy, behind = {'busy'}, {'behind'}
  for n = 1, #ARGV - 9 do
    local from, to = KEYS[2 * n + 3], KEYS[2 * n + 4]
    if holds(from) then busy[#busy + 1] = n end
    if is_behind(from, to, 'l') or is_behind(from, to, 'n') then behind[#behind + 1] = n end
  end
  if #busy > 1 then return busy end
  if #behind > 1 then return behind end
  for n = 1, #ARGV - 9 do go(KEYS[2 * n + 3], KEYS[2 * n + 4], ARGV[n + 9]) end
  if former ~= '' then write(KEYS[4], 'former_root', account, former) end
end
return write(KEYS[3], 'account', account, definition)
