-- Hold more for running calls, for each at every level or not at all; save their sessions and renew their leases.
-- Each call is judged by itself: what is wrong with one does not keep another from its answer.
--
-- KEYS  per call: record, live
-- ARGV  per call: nonce, version that the caller saw, force (0 | 1: no limits), lease (ms), trace id, session,
--                 number of levels, per level: how much more is held
-- Answer  per call: U when there is no such call; the record when it is not what the caller saw; else words:
--         E (extended) or N (not), available per level (E: after, N: before; "-": unlimited),
--         or X and what went wrong

local function extend(record_key, live_key, at)
  local nonce, version, force, lease, trace_id, session = unpack(ARGV, at, at + 5)
  local known = read(record_key)
  if not known then return 'U' end
  if known.nonce == nonce then return known.answer end
  if known.version ~= version or known.state ~= 'live' then return known.text end

  local fits, level = true, 0
  local before, after, writes, taken = {}, {}, {}, {}
  for hash, held, overflow, counters in lines(known) do
    if held ~= '-' then
      level = level + 1
      local more = tonumber(ARGV[at + 6 + level])
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
  redis.call('SET', record_key, record(digits(version + 1), nonce, 'live', answered, table.concat(taken), session))
  redis.call('ZADD', live_key, lease, trace_id)
  return answered
end

local answers, at = {}, 1
for call = 1, #KEYS / 2 do
  local done, answer = pcall(extend, KEYS[2 * call - 1], KEYS[2 * call], at)
  if not done then answer = 'X ' .. (type(answer) == 'table' and answer.err or tostring(answer)) end
  answers[call] = answer
  at = at + 7 + tonumber(ARGV[at + 6])
end
return answers
