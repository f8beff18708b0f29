-- Writes the definition of an account, and how far below zero it may go; where that gives it another root, it and all
-- below it go there with all that they have. All of it or nothing, in some 50 us for each that goes.
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

local function fields_of(key)
  local found, flat = {}, redis.call('HGETALL', key)
  for n = 1, #flat, 2 do found[flat[n]] = flat[n + 1] end
  return found
end

-- Whether something is held or in use, by what its hash (`fields`) and its sources say.
local function is_busy(hash, fields)
  for field, value in pairs(fields) do
    if field ~= 'bal' and field ~= 'floor' and field ~= 'ids' and tonumber(value) ~= 0 then return true end
  end
  for field, value in pairs(fields_of(beside(hash, 'b'))) do
    if string.find(field, 'held ', 1, true) == 1 and tonumber(value) ~= 0 then return true end
  end
  return false
end

local function last(stream)
  local newest = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  if not newest then return 0, 0 end
  local ms, number = string.match(newest[1], '(%d+)-(%d+)')
  return tonumber(ms), tonumber(number)
end

local function is_behind(from, to, letter)
  local ms, number = last(beside(from, letter))
  if ms == 0 then return false end
  local to_ms, to_number = last(beside(to, letter))
  return to_ms < ms or (to_ms == ms and to_number < number)
end

-- The balance goes. What left stands in both ledgers under one id, as all before it does. Answers the balance there.
local function pay_over(from, to, balance)
  local source, target = beside(from, 'l'), beside(to, 'l')
  local out = {'id', entry .. '-out', 'kind', 'correction', 'amount', digits(-tonumber(balance)), 'balance', '0',
    'at', at_ms, 'note', to_root}
  local cursor = redis.call('XADD', source, '*', unpack(out))
  redis.pcall('XADD', target, cursor, unpack(out))  -- not where a correction once was posted behind a move
  local come = digits((tonumber(redis.call('HGET', to, 'bal')) or 0) + tonumber(balance))
  redis.call('XADD', target, '*', 'id', entry .. '-in', 'kind', 'correction', 'amount', balance, 'balance', come,
    'at', at_ms, 'note', from_root)
  return come
end

-- Where it went stands where it was, and nothing of an earlier stay stands where it comes to.
local function go(from, to, was, floor)
  local left, come = {'HSET', from, 'floor', closed}, {'HSET', to, 'floor', floor}
  if was.bal and was.bal ~= '0' then
    left[5], left[6] = 'bal', '0'
    come[5], come[6] = 'bal', pay_over(from, to, was.bal)
  end
  redis.call('HDEL', to, 'ids')
  if was.ids then
    come[#come + 1], come[#come + 2] = 'ids', was.ids
    redis.call('HDEL', from, 'ids')
  end
  redis.call(unpack(left))
  redis.call(unpack(come))
  redis.call('SET', beside(from, 'g'), to)
  redis.call('DEL', beside(to, 'g'), beside(to, 'b'), beside(to, 'c'), beside(to, 'i'), beside(to, 'o'), beside(to, 'w'))
  for _, letter in ipairs({'b', 'c', 'i', 'o', 'w'}) do
    local kept = beside(from, letter)
    if redis.call('EXISTS', kept) == 1 then redis.call('RENAME', kept, beside(to, letter)) end
  end
end

if from_root == to_root then
  redis.call('HSET', KEYS[6], 'floor', ARGV[10])
else
  local found, busy, behind = {}, {'busy'}, {'behind'}
  for n = 1, #ARGV - 9 do
    local from, to = KEYS[2 * n + 3], KEYS[2 * n + 4]
    found[n] = fields_of(from)
    -- A call that was let go on without the store may be up where the account once was, and comes back to.
    if is_busy(from, found[n]) or is_busy(to, fields_of(to)) then busy[#busy + 1] = n end
    if is_behind(from, to, 'l') or is_behind(from, to, 'n') then behind[#behind + 1] = n end
  end
  if #busy > 1 then return busy end
  if #behind > 1 then return behind end
  for n = 1, #ARGV - 9 do go(KEYS[2 * n + 3], KEYS[2 * n + 4], found[n], ARGV[n + 9]) end
  if former ~= '' then write(KEYS[4], 'former_root', account, former) end
end
return write(KEYS[3], 'account', account, definition)
