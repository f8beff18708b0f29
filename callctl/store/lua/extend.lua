-- Hold more for running calls, for each at every level or not at all; save what changes and renew their leases.
-- Each call is judged by itself: what is wrong with one does not keep another from its answer.
--
-- KEYS  per call: record, live
-- ARGV  nonce, then per call: version that the caller saw, force (0 | 1: no limits), lease (ms), trace id, what changes
--       of its session, number of levels, per level: how much more is held
-- Answer  per call: U when there is no such call; what is remembered when it is not what the caller saw; else words:
--         E (extended) or N (not), available per level (E: after, N: before; "-": unlimited),
--         or X and what went wrong

local function extend(call, at)
  local record_key, nonce = KEYS[2 * call - 1], ARGV[1] .. '.' .. call
  local version, force, lease, trace_id, changes = unpack(ARGV, at, at + 4)
  local known = read(record_key)
  if not known then return 'U' end
  if known.nonce == nonce then return known.answer end
  if known.version ~= version or known.state ~= 'live' then return remembered(record_key) or 'U' end

  local fits, level = true, 0
  local before, after, writes, taken = {}, {}, {}, {}
  for hash, held, overflow, counters in lines(known) do
    if held ~= '-' then
      level = level + 1
      local more = tonumber(ARGV[at + 5 + level])
      local seen = redis.call('HMGET', hash, 'bal', 'held', 'floor')
      local left = available(unpack(seen, 1, 3))
      if left and more > 0 and left < more then fits = false end
      before[level] = left and digits(left) or '-'
      after[level] = left and digits(left - more) or '-'
      if more ~= 0 then writes[#writes + 1] = {hash, digits((tonumber(seen[2]) or 0) + more)} end
      held = digits(tonumber(held) + more)
    end
    taken[#taken + 1] = line(hash, held, overflow, counters)
  end

  if not fits and force == '0' then return 'N ' .. table.concat(before, ' ') end
  local answered = 'E ' .. table.concat(after, ' ')
  for _, write in ipairs(writes) do redis.call('HSET', write[1], 'held', write[2]) end
  local record_now = record(digits(version + 1), nonce, 'live', answered, table.concat(taken), changes)
  redis.call('SET', running(record_key), record_now)
  redis.call('ZADD', KEYS[2 * call], lease, trace_id)
  return answered
end

local answers, at = {}, 2
for call = 1, #KEYS / 2 do
  local done, answer = pcall(extend, call, at)
  if not done then answer = 'X ' .. (type(answer) == 'table' and answer.err or tostring(answer)) end
  answers[call] = answer
  at = at + 6 + tonumber(ARGV[at + 5])
end
return answers
